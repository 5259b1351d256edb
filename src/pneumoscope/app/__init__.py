"""The reading room: a page and a JSON API for predictions, on this machine only.

server.py        the app and its server
api.py           the routes of the JSON API
uploads.py       the files and fields of a request
predictions.py   uploaded files to predictions, as JSON or DICOM
answers.py       predictions and their maps as JSON; each prediction as one sentence
schema.py        the types of the API
pictures.py      images for the browser: thumbnails, phantoms, radiographs that it cannot decode
limits.py        limits on size and time, and the middleware that enforces them
pool.py          the threads that predict, and the queue before them
security.py      which requests are allowed, and the headers of every answer
study_report.py  the report of a study, and the policy under which it is shown

Requests pass through `limits`, then `security`, then the routes. Nothing is written to disk, nothing leaves the
machine, and no file name is logged.
"""
