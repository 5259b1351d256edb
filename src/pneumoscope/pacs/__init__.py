"""DICOM objects for a PACS, and the connections to one.

dicom_output.py         secondary capture and structured report of a reading
radiograph_elements.py  elements copied from the radiograph
structured_report.py    structured report
reading_files.py        figure and DICOM files of each prediction
results.py              prediction and DICOM objects of a radiograph from a PACS
spool.py                queue of the listener on disk
listener.py             DICOM listener
delivery.py             sends results with C-STORE until they are taken
dicomweb.py             DICOMweb client: QIDO-RS, WADO-RS, STOW-RS
tls.py                  TLS of DICOM connections
"""
