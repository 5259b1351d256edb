"""THE READING ROOM: a page and a JSON API over the reader, on this machine alone.

server.py       the app put together, and served
api.py          the routes of the JSON API
answers.py      readings and the pictures behind them, as JSON; each reading in one sentence
schema.py       the types of what the API answers
pictures.py     what a browser is shown: sizes, pictures, thumbnails, phantoms
dicom_zip.py    a reading as DICOM, to be taken along
uploads.py      files received, in memory only
limits.py       how much and how long, and the middleware that holds requests to it
pool.py         the threads that read, and the line before them
connections.py  clients that are slow to ask or slow to listen
security.py     who may ask, and what every answer carries
docs_page.py    the API described on a page of its own
study_report.py the report of a study, and the policy under which it is shown

Requests pass through `security`, then `limits`, then the routes. Nothing here is written to disk, nothing leaves
the machine, and no name of a file is logged.
"""
