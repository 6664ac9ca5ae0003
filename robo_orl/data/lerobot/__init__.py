"""LeRobot data sets in and out: parquet tables, mp4 videos and JSON on one side, robomimic's HDF5 on the other.

`dataset.py` reads the description of a folder (v2.0 to v3.x), `to_hdf5.py` converts one, `from_hdf5.py` writes v3.
Parquet goes through DuckDB and video through ffmpeg (imageio-ffmpeg): LeRobot wants other versions than the simulators
do, so that nothing here imports it, and a test has LeRobot read what is written.
"""
