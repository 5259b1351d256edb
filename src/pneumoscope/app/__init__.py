"""The app: a web page and a JSON API for predictions, on this machine only.

server.py        builds the app and serves it
api.py           the routes of the JSON API
uploads.py       parses the files and fields of a request
predictions.py   uploaded files to predictions, as JSON or DICOM
answers.py       predictions and their maps as JSON, with a summary in words
schema.py        the types of the API
images.py        images for the browser: thumbnails, phantoms, radiographs that it cannot decode
limits.py        limits on size and time, and the middleware that enforces them
pool.py          the threads that predict, and the queue before them
security.py      which requests are allowed, and the headers of every response
study_report.py  the report of a study and its content security policy

A request passes through `limits`, then `security`, then its route. The app writes nothing to disk, sends nothing to
other machines, and logs no file names.
"""
