"""Files to arrays: reading, listing, splitting and auditing radiographs.

source.py       the bytes of a file or an upload
image.py        one file to one array
dicom.py        DICOM: detection, gray levels and header
dicom_frame.py  DICOM: stored pixels
dicom_gray.py   DICOM: stored values to gray levels
naming.py       what a supported data set states in its names
kermany.py      the names of the Kermany data set
collection.py   a folder or manifest to a table of files
dataset.py      a collection as arrays with their table
splits.py       splits and folds by patient
audit.py        counts, duplicates, leaks and exposures
prepare.py      a collection rearranged into one folder a class
download.py     the Kermany data set from Kaggle or Mendeley
"""
