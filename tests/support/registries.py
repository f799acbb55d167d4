"""Registries for tests: the samples under deploy/registries, copied to where a test may change them."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

SAMPLES = Path(__file__).parents[2] / "deploy" / "registries"

HEADER = (
    "num_cadastro;especie;marca;modelo;calibre;capacidade;funcionamento;qtd_canos;compr_cano_mm;alma;num_raias;"
    "sentido_raias;num_serie;local_serie;pais_fabricacao;nota_fiscal;data_nf;produtor;vendedor;proprietario;cpf_cnpj;"
    "situacao;data_situacao;local_apreensao;observacoes"
)


def arm(
    key: str,
    serial: str = "AB123456",
    situation: str = "FURTADA",
    day: str = "03/02/2026",
    remarks: str = "",
    make: str = "EXEMPLAR",
    kind: str = "PISTOLA",
) -> str:
    """A line of the register of seizures."""
    return (
        f"{key};{kind};{make};PT 92;9 mm;15;SEMI;1;125,5;RAIADA;6;DIREITA;{serial};ARMAÇÃO;XB;;;;;Fulano de Tal;"
        f"000.000.001-91;{situation};{day};;{remarks}"
    )


def seizures(folder: Path) -> Path:
    """An empty register of seizures; returns its mapping file."""
    home = folder / "seizures"
    (home / "drop").mkdir(parents=True)
    text = (SAMPLES / "seizures_c" / "mapping.toml").read_text(encoding="utf-8")
    (home / "mapping.toml").write_text(
        text.replace("settle_seconds = 5", "settle_seconds = 0"), encoding="utf-8"
    )
    return home / "mapping.toml"


def drop(mapping: Path, name: str, *lines: str, encoding: str = "cp1252", age: float = 60) -> Path:
    """Hand a file over, with a time of change `age` seconds back."""
    file = mapping.parent / "drop" / name
    file.write_bytes(("\r\n".join((HEADER, *lines)) + "\r\n").encode(encoding))
    changed = file.stat().st_mtime - age
    os.utime(file, (changed, changed))
    return file


def licensing(folder: Path) -> Path:
    """The licensing database with its sample rows; returns its mapping file."""
    home = folder / "licensing"
    shutil.copytree(SAMPLES / "licensing_a", home)
    with sqlite3.connect(home / "licensing.sqlite") as database:
        database.executescript((home / "schema.sql").read_text(encoding="utf-8"))
        database.executescript((home / "seed.sql").read_text(encoding="utf-8"))
    database.close()
    return home / "mapping.toml"


def change(mapping: Path, *statements: str) -> None:
    """Change the licensing database."""
    database = sqlite3.connect(mapping.parent / "licensing.sqlite")
    with database:
        for statement in statements:
            database.execute(statement)
    database.close()
