"""Django with its `GZipMiddleware`, for gunicorn with threads.

The middleware compresses a `StreamingHttpResponse` without ever flushing: a
client that offers gzip hears nothing until the end.
"""

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

import streams

settings.configure(
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["django.middleware.gzip.GZipMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="only for tests",
)
visits = streams.Visits()


def stream(steps):
    return StreamingHttpResponse(streams.walk(steps), content_type="text/event-stream")


def events(request):
    return stream(streams.events(int(request.GET["n"]), float(request.GET["gap_ms"])))


def silence(request):
    return stream(streams.silence(float(request.GET["ms"])))


def awkward(request):
    return stream(streams.awkward())


def endless(request):
    return stream(visits.endless(request.GET["key"]))


def probe(request):
    return JsonResponse(visits.probe(request.GET["key"]))


def page(request):
    return HttpResponse(streams.PAGE)


urlpatterns = [
    path(view.__name__, view)
    for view in (events, silence, awkward, endless, probe, page)
]
application = get_wsgi_application()
