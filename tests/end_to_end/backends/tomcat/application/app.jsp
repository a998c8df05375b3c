<%--
  All routes in one JSP. What JSPs write with never fails: only `flushBuffer` throws
  when the client has gone, and Tomcat logs that.
--%>
<%@ page session="false" trimDirectiveWhitespaces="true" %>
<%@ page import="java.io.IOException, java.io.InputStream, java.security.MessageDigest" %>
<%@ page import="java.util.HexFormat, java.util.Map, java.util.concurrent.ConcurrentHashMap" %>
<%!
  static final String PAGE = "<!doctype html><title>page</title>\n" + "<p>An ordinary page.</p>\n".repeat(800);
  static final String ETAG = "\"page-1\"";
  static final Map<String, Double> opened = new ConcurrentHashMap<>();
  static final Map<String, Double> aborted = new ConcurrentHashMap<>();

  static double now() {
    java.time.Instant now = java.time.Instant.now();
    return now.getEpochSecond() * 1e3 + now.getNano() / 1e6;
  }

  static void write(JspWriter out, HttpServletResponse response, int n) throws IOException {
    out.print(String.format("id: %d\ndata: {\"n\":%d,\"sent\":%.1f}\n\n", n, n, now()));
    out.flush();
    response.flushBuffer();
  }

  static void events(JspWriter out, HttpServletResponse response, int count, int gap) throws Exception {
    for (int n = 0; n < count; n++) {
      if (n > 0) Thread.sleep(gap);
      write(out, response, n);
    }
  }

  // An event every 100 ms, until a write fails.
  static void endless(JspWriter out, HttpServletResponse response, String key) throws Exception {
    opened.put(key, now());
    try {
      for (int n = 0; ; n++) {
        write(out, response, n);
        Thread.sleep(100);
      }
    } finally {
      aborted.put(key, now());
    }
  }

  static String probe(String key) {
    return "{\"opened\":" + opened.get(key) + ",\"aborted\":" + aborted.get(key) + "}";
  }

  static String upload(InputStream body) throws Exception {
    MessageDigest digest = MessageDigest.getInstance("SHA-256");
    byte[] buffer = new byte[8192];
    int length = 0;
    for (int n; (n = body.read(buffer)) > 0; length += n) {
      digest.update(buffer, 0, n);
    }
    String sha256 = HexFormat.of().formatHex(digest.digest());
    return "{\"length\":" + length + ",\"sha256\":\"" + sha256 + "\"}";
  }
%>
<%
  switch (request.getPathInfo()) {
    case "/events":
      response.setContentType("text/event-stream");
      int count = Integer.parseInt(request.getParameter("n"));
      events(out, response, count, Integer.parseInt(request.getParameter("gap_ms")));
      break;
    case "/endless":
      response.setContentType("text/event-stream");
      endless(out, response, request.getParameter("key"));
      break;
    case "/probe":
      response.setContentType("application/json");
      out.print(probe(request.getParameter("key")));
      break;
    case "/upload":
      response.setContentType("application/json");
      out.print(upload(request.getInputStream()));
      break;
    case "/page":
      response.setHeader("ETag", ETAG);
      if (ETAG.equals(request.getHeader("If-None-Match"))) {
        response.setStatus(304);
      } else {
        out.print(PAGE);
      }
      break;
    case "/nothing":
      response.setStatus(204);
      break;
    default:
      response.sendError(404);
  }
%>
