"""DICOM objects that are written for a PACS."""
