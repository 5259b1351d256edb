"""DICOM objects for a PACS.

dicom_output.py       secondary capture, and what is copied from the radiograph
structured_report.py  the structured report
reading_files.py      files beside the table of predictions
"""
