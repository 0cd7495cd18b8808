"""Writers of what other servers read: model repositories for Triton and OpenVINO Model Server, manifests for KServe.

`chosen.py` resolves the models and their names on the server; `repository.py` writes their files, safely, into a folder
that may hold other models; `pbtxt.py` writes protobuf text. `triton.py` and `ovms.py` write a repository for one kind
of server, `triton_images.py` an ensemble for Triton that takes encoded images; its step, `triton_preprocess.py`, runs
in Triton. `kserve.py` writes manifests for Kubernetes, `docker.py` what an image of our own server is
built from, with the versions of `requirements.py`. `web.py` writes a static site for browsers: the page in `page/`,
which is built from `clients/web`, ONNX Runtime Web (`web_runtime.py`), and artifacts.

Each version of a model is a folder that Triton and OpenVINO Model Server load, and that is an artifact as well:

    REPO/NAME/1/model.onnx                 the ONNX file in the chosen precision
    REPO/NAME/1/config.json                the artifact's, which lists the files of this folder
    REPO/NAME/1/preprocessor_config.json, conformance.npz

So `onnxzoo validate REPO/NAME/1` checks what a server will load, and `onnxzoo predict REPO/NAME/1` runs it.
"""
