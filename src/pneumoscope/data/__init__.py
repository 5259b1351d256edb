"""Data loading: read, list, split and audit radiographs.

source.py       read the bytes of a file or an upload
image.py        load one image as an array
dicom.py        DICOM: detection, loading, header checks
dicom_frame.py  DICOM: decoding of stored pixels
dicom_gray.py   DICOM: stored values to gray levels
naming.py       naming schemes
kermany.py      naming scheme of the Kermany data set
collection.py   list a folder or table (CSV, TSV, Parquet)
dataset.py      load a collection into arrays
splits.py       splits and folds by patient
audit.py        counts, duplicates, leaks, exposure
prepare.py      arrange a collection into one folder per class
download.py     download the Kermany data set from Kaggle or Mendeley
"""
