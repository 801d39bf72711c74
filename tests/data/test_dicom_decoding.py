"""Decoding of single frames under pydicom 3, and with its module of decoders gone as under pydicom 2."""

from __future__ import annotations

import sys

import numpy as np
import pydicom
import pytest
from pydicom.uid import MPEG4HP41, ExplicitVRLittleEndian, JPEGLosslessSV1, RLELossless

from medvlm.data import dicom_decoding
from medvlm.data.dicom_decoding import decode_one_frame, missing_decoder

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(params=["pydicom 3", "pydicom 2"])
def version(request, monkeypatch):
    if request.param == "pydicom 2":
        monkeypatch.setattr(dicom_decoding, "_pixels", lambda: None)
    return request.param


@pytest.mark.parametrize("options", [{}, {"bits": 12}, {"compressed": True}], ids=["8 bit", "12 bit", "RLE"])
def test_one_frame_is_that_of_all_frames(version, cines, options):
    path = cines.dicom("a.dcm", frames=5, size=(41, 33), **options)
    whole = pydicom.dcmread(path).pixel_array
    for index in (0, 3, 4):
        np.testing.assert_array_equal(decode_one_frame(path, index), whole[index])


def test_the_only_frame_needs_no_index(version, cines):
    path = cines.dicom("a.dcm", frames=1)
    assert decode_one_frame(path).shape == (40, 48)


def test_a_damaged_frame_is_an_error(version, cines):
    path = cines.dicom("a.dcm", compressed=True)
    dataset = pydicom.dcmread(path)
    dataset.PixelData = pydicom.encaps.encapsulate([b"\0" * 70] * 4)
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    with pytest.raises(Exception, match=r".+"):
        decode_one_frame(path, 2)


def test_a_frame_that_is_not_there_is_an_error(version, cines):
    path = cines.dicom("a.dcm", frames=2, compressed=True)
    with pytest.raises(ValueError, match=r"frame|index"):
        decode_one_frame(path, 7)


def test_pydicom_2_is_known_by_what_it_lacks(monkeypatch):
    monkeypatch.delattr(pydicom, "pixels")
    monkeypatch.setitem(sys.modules, "pydicom.pixels", None)  # its import fails from now on
    assert dicom_decoding._pixels() is None


def test_what_can_be_decoded_lacks_nothing(version):
    assert missing_decoder(None) == missing_decoder(ExplicitVRLittleEndian) == missing_decoder(RLELossless) == ""


def test_a_syntax_that_nothing_decodes_asks_for_a_converter(version):
    assert "store the video as MP4" in missing_decoder(MPEG4HP41)


def test_pydicom_2_lacks_a_plug_in_of_pylibjpeg(monkeypatch):
    monkeypatch.setattr(dicom_decoding, "_pixels", lambda: None)
    assert missing_decoder(JPEGLosslessSV1) == ""
    monkeypatch.setattr(dicom_decoding, "_pylibjpeg_syntaxes", set)
    assert "JPEG Lossless" in missing_decoder(JPEGLosslessSV1)
    assert "pip install 'medvlm-bundles[dicom]'" in missing_decoder(JPEGLosslessSV1)
