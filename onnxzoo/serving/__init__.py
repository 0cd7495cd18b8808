"""The server of `onnxzoo serve`: the Open Inference Protocol over HTTP and gRPC, on KServe's SDK.

sdk.py          the import of KServe's SDK
limits.py       what a request may cost, and the memory that all of them share; cost.py: how many values it may have
refusals.py     kinds of errors, with their HTTP and gRPC status
calls.py        what every request goes through: readiness, token, time limit, metrics, one line of log
metrics.py      Prometheus metrics; logs.py: the log as JSON
rest_request.py bytes of a REST request -> the SDK's request, binary data kept as bytes
wanted.py       the SDK's request, checked; answers.py: outputs -> the SDK's response
pipeline.py     queue, decoding and engine; batching.py: images of several requests in one run
served.py       a model, and the SDK's data plane over all of them
http_app.py     HTTP: routes and bodies; connections.py: time limits of connections
grpc_service.py gRPC
server.py       start, readiness, graceful stop
"""
