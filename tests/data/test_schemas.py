"""Archives other than NIH's, laid out as their owners publish them."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from tests.pictures import encode, noise
from tests.refusals import refused
from xray.config.data import DataConfig
from xray.config.schemas import CHEXPERT, UNCERTAIN, VINDR
from xray.data.dataset import Dataset, find_dataset
from xray.data.reader import ImageReader
from xray.local.dicom import encode_dicom
from xray.storage.credentials import S3Access
from xray.storage.s3 import Storage

OWN = {"findings": ["Tb", "Fluid"], "image": "file", "patient": "who"}


def write_labels(folder: Path, header: str, rows: list[str]) -> None:
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n")


def write_image(path: Path, seed: int, dicom: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = noise(16, seed=seed)
    path.write_bytes(encode_dicom(pixels) if dicom else encode(pixels))


def chexpert(folder: Path, patients: int = 6) -> dict:
    """Two views of a study: 1, 0, -1 and blanks, as in its train.csv."""
    rows = []
    for number, view in itertools.product(range(patients), (1, 2)):
        path = f"patient{number:05d}/study1/view{view}_frontal.jpg"
        write_image(folder / "images" / "train" / path, 2 * number + view)
        told = ["", "", "1.0", "0.0", "", "-1.0", *[""] * 8]
        told[9] = "1.0" if number % 2 else ""
        rows.append(
            f"CheXpert-v1.0-small/train/{path},F,40,Frontal,AP,{','.join(told)}"
        )
    header = "Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(CHEXPERT.findings)
    write_labels(folder, header, rows)
    return {"label_schema": "chexpert"}


def mimic(folder: Path, patients: int = 6) -> dict:
    """A row a study, whose two images have names of their own."""
    findings = sorted(CHEXPERT.findings)  # in another order than CheXpert's
    rows = []
    for number in range(patients):
        subject, study = 10000000 + number, 50000000 + number
        for place in "ab":
            name = f"p10/p{subject}/s{study}/{place}-{number}.jpg"
            write_image(folder / "images" / name, number)
        told = ["1.0" if name == "Edema" else "" for name in findings]
        told[findings.index("Fracture")] = "-1.0"
        rows.append(f"{subject},{study},{','.join(told)}")
    write_labels(folder, f"subject_id,study_id,{','.join(findings)}", rows)
    return {"label_schema": "mimic-cxr"}


def vindr(folder: Path, images: int = 8) -> dict:
    """Three readers a row each, and DICOM files."""
    rows = []
    for number in range(images):
        write_image(folder / "images" / f"{number:032x}.dicom", number, dicom=True)
        for reader in range(3):
            told = ["0"] * len(VINDR.findings)
            told[VINDR.findings.index("COPD")] = str(int(reader < 2))
            told[VINDR.findings.index("Edema")] = str(int(reader < 1))
            rows.append(f"{number:032x},R{reader},{','.join(told)}")
    columns = ",".join(VINDR.findings).replace("Other diseases", "Other disease")
    write_labels(folder, f"image_id,rad_id,{columns}", rows)
    return {"label_schema": "vindr"}


def own_columns(folder: Path, images: int = 8) -> dict:
    rows = []
    for number in range(images):
        write_image(folder / "images" / "ward" / f"{number}.png", number)
        rows.append(f"old/ward/{number}.jpg,{number // 2},{number % 2},-1,x")
    write_labels(folder, "file,who,Tb,Fluid,note", rows)
    return {"label_schema": "own", "own_labels": OWN}


def own_joined(folder: Path, images: int = 8) -> dict:
    rows = []
    for number in range(images):
        write_image(folder / "images" / f"{number}.PNG", number)
        rows.append(f"{number},{number // 2},{'Fluid ; Tb' if number % 2 else ''}")
    write_labels(folder, "file,who,what", rows)
    own = {**OWN, "joined": "what", "separator": ";"}
    return {"label_schema": "own", "own_labels": own}


def config(folder: Path, **settings) -> DataConfig:
    return DataConfig.model_validate(
        {
            "images": str(folder / "images"),
            "labels": str(folder / "labels.csv"),
            "image_size": 16,
            "test_fraction": 0.4,
            "min_train_positives": 0,
            **settings,
        }
    )


def find(data: DataConfig) -> Dataset:
    return find_dataset(data, Storage(S3Access()))


def table(dataset: Dataset, data: DataConfig) -> dict[str, tuple[str, set[str]]]:
    """Patient and findings of each image."""
    found = {}
    for side in (dataset.train, dataset.test):
        for name, patient, row in zip(
            side.names, side.patients, side.labels, strict=True
        ):
            told = {data.findings[place] for place in np.flatnonzero(row)}
            found[name] = (patient, told)
    return found


def test_chexpert_is_matched_by_path_and_split_by_its_patients(tmp_path):
    data = config(tmp_path, **chexpert(tmp_path))
    found = table(find(data), data)
    expected = {
        f"patient{n:05d}/study1/view{view}_frontal.jpg": (
            f"patient{n:05d}",
            {"Cardiomegaly", *(["Pneumothorax"] if n % 2 else [])},
        )
        for n in range(6)
        for view in (1, 2)
    }
    assert found == expected
    ones = data.model_copy(update={"uncertain": "ones"})
    for name, (patient, told) in table(find(ones), ones).items():
        assert (patient, told) == (patient, expected[name][1] | {"Edema"})
    ignored = data.model_copy(update={"uncertain": "ignored"})
    labels = find(ignored).train.labels
    assert (labels[:, CHEXPERT.findings.index("Edema")] == UNCERTAIN).all()
    assert labels.max(axis=0).tolist().count(UNCERTAIN) == 1


def test_mimic_labels_a_study_and_so_each_of_its_images(tmp_path):
    data = config(tmp_path, **mimic(tmp_path))
    assert table(find(data), data) == {
        f"s{50000000 + n}/{place}-{n}.jpg": (f"{10000000 + n}", {"Edema"})
        for n in range(6)
        for place in "ab"
    }


def test_vindr_goes_by_the_majority_and_reads_dicom(tmp_path):
    data = config(tmp_path, **vindr(tmp_path))
    dataset = find(data)
    assert table(dataset, data) == {
        f"{n:032x}.dicom": (f"{n:032x}", {"COPD"}) for n in range(8)
    }
    reader = ImageReader.of(data, S3Access())
    pixels, good, bad = reader.load(dataset.train.uris, dataset.train.etags)
    assert (len(good), bad) == (len(dataset.train), {})
    first = int(dataset.train.names[0].removesuffix(".dicom"), 16)
    assert np.corrcoef(pixels[0].ravel(), noise(16, seed=first).ravel())[0, 1] > 0.99


def test_a_table_of_ones_own_in_columns(tmp_path):
    data = config(tmp_path, uncertain="ones", **own_columns(tmp_path))
    assert table(find(data), data) == {
        f"{n}.png": (f"{n // 2}", {"Fluid", *(["Tb"] if n % 2 else [])})
        for n in range(8)
    }


def test_a_table_of_ones_own_with_a_separator(tmp_path):
    data = config(tmp_path, **own_joined(tmp_path))
    assert table(find(data), data) == {
        f"{n}.PNG": (f"{n // 2}", {"Tb", "Fluid"} if n % 2 else set()) for n in range(8)
    }


def test_filters_and_groups_follow_the_file(tmp_path):
    data = config(tmp_path, **mimic(tmp_path))
    some = data.model_copy(update={"where": {"study_id": "50000000..50000002"}})
    assert len(find(some)) == 6
    groups = {"subject_id": ["10000003"]}
    (group,) = find(data.model_copy(update={"subgroups": groups})).subgroups
    assert group.names == {"s50000003/a-3.jpg", "s50000003/b-3.jpg"}
    data = config(tmp_path / "v", **vindr(tmp_path / "v"), where={"rad_id": "R0"})
    assert len(find(data)) == 8


def test_other_findings_are_other_work(tmp_path):
    data = config(tmp_path, **own_columns(tmp_path))
    work = find(data).identity(data)
    assert work["dataset"]["findings"] == ["Tb", "Fluid"]
    ones = data.model_copy(update={"uncertain": "ones"})
    assert find(ones).identity(ones) != work


@pytest.mark.parametrize(
    ("layout", "old", "new", "message"),
    [
        (chexpert, "-1.0", "maybe", "1, 0, -1 or nothing.*'maybe' for Edema in line 2"),
        (vindr, ",R0,0", ",R0,-1", "1, 0 or nothing.*'-1' for Aortic enlargement"),
        (chexpert, ",Fracture", ",Fractures", "'Fracture'. Did you mean 'Fractures'"),
        (own_joined, "Fluid", "Fluids", "unknown finding 'Fluids'. The 2 known ones"),
        (own_columns, ",2,", ",,", "has an empty field in line 6"),
        (own_columns, "ward/7", "ward/6", "lists image '6' more than once"),
    ],
)
def test_a_label_file_that_is_none_is_refused(tmp_path, layout, old, new, message):
    data = config(tmp_path, **layout(tmp_path))
    path = tmp_path / "labels.csv"
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, 1))
    with refused(message):
        find(data)
