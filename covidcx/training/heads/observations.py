"""CheXpert's twelve observations, uncertain ones missing (stage 1 of SIIM multi-class)."""

from covidcx.training.heads.findings import CHEXPERT_HEAD as HEAD

__all__ = ["HEAD"]
