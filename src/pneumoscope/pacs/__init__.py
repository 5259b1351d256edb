"""DICOM objects for a PACS.

dicom_output.py         secondary capture and structured report of a reading
radiograph_elements.py  elements copied from the radiograph
structured_report.py    structured report
reading_files.py        figure and DICOM files of each prediction
"""
