"""Data loading: read, list, split and audit radiographs.

source.py         read the bytes of a file or an upload
image.py          load one image as an array
dicom.py          DICOM: detection, loading, header checks
dicom_frame.py    DICOM: decoding of stored pixels
dicom_gray.py     DICOM: stored values to gray levels
known_sets.py     how public data sets are written
kermany.py        names of the Kermany data set
label_options.py  choices: classes, columns, mapping, groups
manifest.py       read a table (CSV, TSV, Parquet)
folders.py        list a folder
tables.py         list a table
labeling.py       what both say about an image, and from labels to classes
collection.py     list a folder or table with classes and hashes
decode.py         decode files as training and inference do
cache.py          decoded images in one memory-mapped file
dataset.py        load a collection into arrays
splits.py         splits and folds by patient
duplicates.py     copies found by a perceptual hash
population.py     age, sex, view and origin, measured or stated
audit.py          counts, duplicates, leaks, exposure
download.py       download the Kermany data set from Kaggle or Mendeley
"""
