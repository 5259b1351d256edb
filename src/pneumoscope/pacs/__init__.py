"""DICOM objects for a PACS.

dicom_output.py       secondary capture, and elements copied from the radiograph
structured_report.py  structured report
reading_files.py      figure and DICOM files of each prediction
"""
