"""Flask, for gunicorn with gevent workers."""

from flask import Flask, Response, jsonify, request

import streams

app = Flask(__name__)
visits = streams.Visits()


def stream(steps: streams.Steps) -> Response:
    return Response(streams.walk(steps), mimetype="text/event-stream")


@app.route("/events", methods=["GET", "POST"])
def events():
    return stream(streams.events(int(request.args["n"]), float(request.args["gap_ms"])))


@app.get("/silence")
def silence():
    return stream(streams.silence(float(request.args["ms"])))


@app.get("/awkward")
def awkward():
    return stream(streams.awkward())


@app.get("/endless")
def endless():
    return stream(visits.endless(request.args["key"]))


@app.get("/probe")
def probe():
    return jsonify(visits.probe(request.args["key"]))


@app.get("/page")
def page():
    return streams.PAGE
