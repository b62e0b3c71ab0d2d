"""Damaged and hostile checkpoints, made byte by byte: what a reader of files must survive.

`files(sentinel)` gives name → (bytes, what the error must say). Those that carry code would create
the file `sentinel`.
"""

import io
import json
import pickle
import struct
import zipfile
import zlib

import numpy as np

# ---------------------------------------------------------------------------- pickles


def number(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw  # LONG1


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()  # BINUNICODE


def integers(values) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()  # GLOBAL


def storage(key="0", count=4, kind="FloatStorage", module="torch") -> bytes:
    parts = text("storage") + named(module, kind) + text(key) + text("cpu") + number(count)
    return b"(" + parts + b"tQ"  # BINPERSID


def tensor(offset=0, shape=(2, 2), strides=(2, 1), source=None) -> bytes:
    arguments = (source or storage()) + number(offset) + integers(shape) + integers(strides)
    return named("torch._utils", "_rebuild_tensor_v2") + b"(" + arguments + b"\x89Nt" + b"R"


def program(value: bytes, name: str = "w") -> bytes:
    """{name: value}"""
    return b"\x80\x02}" + text(name) + value + b"s."


STATE = program(tensor())
NUMBERS = np.arange(4, dtype="<f4").tobytes()

# ---------------------------------------------------------------------------- archives


def archive(parts: dict[str, bytes], method=zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as out:
        for name, part in parts.items():
            out.writestr(zipfile.ZipInfo(name), part, method)
    return file.getvalue()


def zipped(pickled: bytes = STATE, numbers: bytes = NUMBERS, **more: bytes) -> bytes:
    """A file in PyTorch's zip format."""
    return archive({"m/data.pkl": pickled, "m/data/0": numbers, **more})


def old(pickled: bytes = STATE, count=4, numbers=NUMBERS, system=None, keys=("0",)) -> bytes:
    """A file in PyTorch's old format."""
    system = {"protocol_version": 1001, "little_endian": True} if system is None else system
    before = [pickle.dumps(k, 2) for k in (119547037146038801333356, 1001, system)]
    after = pickle.dumps(list(keys), 2) + struct.pack("<q", count) + numbers
    return b"".join(before) + pickled + after


def changed(raw: bytes, before: bytes, after: bytes, which: int = 0) -> bytes:
    """With the `which`-th of these bytes replaced; −1 is the last."""
    parts = raw.split(before)
    assert len(parts) > 1
    at = range(1, len(parts))[which]
    return before.join(parts[:at]) + after + before.join(parts[at:])


def field(raw: bytes, signature: bytes, offset: int, layout: str, value: int, which=0) -> bytes:
    """With one number in one of a zip archive's records replaced."""
    at = [k for k in range(len(raw)) if raw.startswith(signature, k)][which] + offset
    return raw[:at] + struct.pack(layout, value) + raw[at + struct.calcsize(layout) :]


DIRECTORY, ENTRY, END = b"PK\1\2", b"PK\3\4", b"PK\5\6"


def bomb(pickled: bytes, size: int) -> bytes:
    """A storage of zeros, deflated to a thousandth."""
    return archive({"m/data.pkl": pickled, "m/data/0": bytes(size)}, zipfile.ZIP_DEFLATED)


def quoting_bomb() -> bytes:
    """Fifield's: the entry a holds the header of b, so that b's bytes are counted twice."""
    inner = archive({"b.npy": bytes(100)})
    inner = inner[: inner.index(DIRECTORY)]
    raw = archive({"a.npy": inner, "b.npy": bytes(100)})
    return field(raw, DIRECTORY, 42, "<I", raw.index(inner), which=1)


# ---------------------------------------------------------------------------- the other formats


def npy(header: str, numbers: bytes = NUMBERS, length: int | None = None) -> bytes:
    text = header.encode() + b"\n"
    size = struct.pack("<H", len(text) if length is None else length)
    return b"\x93NUMPY\1\0" + size + text + numbers


def npz(header: str, numbers: bytes = NUMBERS, length: int | None = None) -> bytes:
    return archive({"w.npy": npy(header, numbers, length)})


def header(shape: str, descr="'<f4'", fortran="False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


def table(text: str | bytes, numbers: bytes = NUMBERS) -> bytes:
    """A safetensors file with any text as its table."""
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(raw)) + raw + numbers


def line(shape=(2, 2), offsets=(0, 16), dtype="F32") -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def tensors(numbers: bytes = NUMBERS, **lines: dict) -> bytes:
    return table(json.dumps(lines), numbers)


class ObjectWith:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        import os

        return os.system, (self.command,)


# ---------------------------------------------------------------------------- all of them


def code_carriers(sentinel: str) -> dict[str, tuple[bytes, str]]:
    """Pickles that run code when they are loaded, in every way that a pickle can."""
    touch = text(f"touch {sentinel}")
    python = text(f"open({sentinel!r}, 'w').close()")
    system = named("os", "system")
    nested = b"B" + struct.pack("<I", len(inner := system + touch + b"\x85R.")) + inner
    through_memo = text("builtins") + b"\x940" + text("eval") + b"\x940" + b"h\x00h\x01\x93"
    named_system = r"names os\.system, which no state dict needs; nothing was run"
    return {
        "reduce": (system + touch + b"\x85R", named_system),
        "stack_global": (text("os") + text("system") + b"\x93" + touch + b"\x85R", named_system),
        "memo": (through_memo + python + b"\x85R", r"names builtins\.eval"),
        "nested": (named("_pickle", "loads") + nested + b"\x85R", r"names _pickle\.loads"),
        "build": (named("os", "_wrap_close") + b")\x81}" + touch + b"Nsb", "names os._wrap_close"),
        "build_dict": (b"}" + touch + b"b", "Pairs is given a state"),
        "inst": (b"(" + touch + b"ios\nsystem\n", named_system),
        "obj": (b"(" + system + touch + b"o", named_system),
        "newobj": (system + touch + b"\x85\x81", named_system),
        "newobj_ex": (system + touch + b"\x85}\x92", named_system),
        "ext1": (b"\x82\x05", r"names copyreg\.extension 5"),
        "ext2": (b"\x83\x05\x00", r"names copyreg\.extension 5"),
        "ext4": (b"\x84\x05\x00\x00\x00", r"names copyreg\.extension 5"),
        "getattr": (named("builtins", "getattr") + named("os", "path"), r"names builtins\.getattr"),
        "dotted": (text("torch._utils") + text("os.system") + b"\x93", r"names torch\._utils\.os"),
        "lookalike": (named("torch", "FloatStorage.os"), r"names torch\.FloatStorage\.os"),
        "torch_load": (named("torch.storage", "_load_from_bytes"), "names torch.storage._load_f"),
        "escapes": (named("os\x1b[2J", "sys\rtem"), r"names os\\x1b\[2J\.sys\\rtem"),
        "allowed_called": (named("torch", "FloatStorage") + touch + b"\x85R", "no dict of tensors"),
        "next_buffer": (b"\x97", "0x97 is no opcode"),
    }


def pickles() -> dict[str, tuple[bytes, str]]:
    """Pickles that want too much, or mean nothing."""
    many = 400_000
    return {
        "lists": (b"\x80\x02" + b"]" * many, "more than 200000 opcodes"),
        "sets": (b"\x80\x02" + b"\x8f" * many, "more than 200000 opcodes"),
        "marks": (b"\x80\x02" + b"(" * many, "more than 200000 opcodes"),
        "deep": (b"]" * 95_000 + b"a" * 94_999 + b".", "no dict of tensors"),
        "deep_tuples": (b")" + b"\x85" * 190_000 + b".", "no dict of tensors"),
        "memo": (b"]" + b"\x94" * many, "more than 200000 opcodes"),
        "memo_index": (b"]p99999999999999999999\n.", "below 2³²"),
        "memo_missing": (b"h\x07.", "nothing is at place .7"),
        "mark_missing": (b"t.", "looks for a mark"),
        "empty_stack": (b"\x85.", "empty stack"),
        "below_mark": (b"N(\x85.", "empty stack"),
        "nothing": (b".", "empty stack"),
        "long_text": (b"X\xff\xff\xff\xff" + b"a" * 50, "ends too early"),
        "longer_text": (b"\x8d" + b"\xff" * 8, "ends too early"),
        "negative_text": (b"T" + b"\xff" * 4, "ends too early"),
        "long_integer": (b"\x8b\xff\xff\xff\x00" + bytes(300), "integer of 16777215 bytes"),
        "negative_integer": (b"\x8b\xff\xff\xff\xff" + bytes(300), "ends too early"),
        "digits": (b"L" + b"9" * 5000 + b"L\n.", "does not end"),
        "no_number": (b"Ifive\n.", "'five' is no number"),
        "not_a_number": (b"F" + b"9" * 900 + b"x\n.", "is no number"),
        "opcode": (b"\x80\x02\xfe.", "0xfe is no opcode"),
        "protocol": (b"\x80\x09N.", "protocol 9"),
        "line": (b"cos" + b"a" * 5000, "does not end"),
        "utf8": (b"X\x02\x00\x00\x00\xff\xfe.", "is not UTF-8"),
        "appends_to_number": (b"K\x01Na.", "appended to int"),
        "sets_in_number": (b"K\x01NNs.", "key is set in int"),
        "cycles": (
            b"}" + text("x") + b"}q\x00(" + (text("model") + b"h\x00") * 30_000 + b"us.",
            "no dict of tensors, but 'x'",
        ),
        "cycle": (b"]q\x00h\x00a.", "no dict of tensors"),
        "twice": (b"\x80\x02}" + (text("w") + tensor() + b"s") * 2 + b".", "'w' stands in a dict"),
        "texts": (b"]" + (text("é€😀" + "a" * 7_900_000) + b"a") + b"xx", "0x78 is no opcode"),
        "calls": (named("collections", "OrderedDict") + b"q\x00" + b"h\x00)R0" * 80_000, "200000"),
        "globals": (b"".join(named("torch", f"float{k}") for k in range(50_000)), "names torch"),
        "tensors": (
            b"}" + tensor() + b"q\x000"
            + b"".join(text(f"{k:x}") + b"h\x00s" for k in range(60_000)) + text("z") + b"Ns.",
            "60000 tensors, expected at most 10000",
        ),
        "ids": (storage() + b"q\x000" + b"(" + text("storage") * 5 + b"tq\x01" + b"h\x01Q0" * 45_000
                + b".", "storage"),
        "odd": (b"}(" + text("w") + b"u.", "key without a value"),
    }  # fmt: skip


def bad_tensors() -> dict[str, tuple[bytes, str]]:
    """State dicts whose tensors lie: about their storage, shape or strides."""
    huge = (1 << 20, 1 << 20)
    view = b"(" + text("storage") + named("torch", "FloatStorage") + text("0") + text("cpu")
    lie = tensor() + b"s" + text("v") + tensor(source=storage(count=5))
    return {
        "negative_stride": (tensor(offset=3, strides=(-2, -1)), "strides has '-2"),
        "negative_offset": (tensor(offset=-1), "offset has '-1"),
        "negative_shape": (tensor(shape=(-2, -2)), "shape has '-2"),
        "outside": (tensor(offset=1), "needs number 4 of 4"),
        "stride_outside": (tensor(strides=(1 << 40, 1)), "needs number 1099511627777 of 4"),
        "expanded": (tensor(shape=huge, strides=(0, 0)), "would become 4,398,046,511,104 bytes"),
        "overflow": (tensor(shape=(1 << 47,) * 3, strides=(0,) * 3), "would become"),
        "wide": (tensor(shape=(1 << 62, 4)), "expected 0 to 2⁴⁸"),
        "empty_but_wide": (tensor(shape=(1 << 40, 1 << 40, 0), strides=(0, 0, 1)), "beyond"),
        "axes": (tensor(shape=(1,) * 65, strides=(1,) * 65), "at most 64"),
        "strides": (tensor(strides=(2, 1, 1)), "2 axes and 3 strides"),
        "shape_of_texts": (tensor().replace(integers((2, 2)), text("22")), "no list of"),
        "shape_of_bools": (tensor().replace(integers((2, 2)), b"(\x88\x88t"), "shape has 'True"),
        "no_arguments": (named("torch._utils", "_rebuild_tensor_v2") + b")R", "no tensor that"),
        "one_argument": (
            named("torch._utils", "_rebuild_tensor_v2") + text("x") + b"R", "no tensor that"
        ),
        "parameter_of_none": (
            named("torch._utils", "_rebuild_parameter") + b"N\x85R", "no tensor that"
        ),
        "conjugated": (tensor().replace(b"\x89Nt", b"\x89N}" + text("conj") + b"\x88st"), "conj"),
        "no_storage": (tensor(source=b"N"), "not told by type"),
        "id_is_text": (tensor(source=b"Pstorage\n"), "not told by type"),
        "id_lies": (lie, "is 5 float32, and elsewhere 4 float32"),
        "id_of_module": (tensor(source=storage(kind="system", module="os")), "names os.system"),
        "id_type": (tensor(source=storage(kind="Size")), "storage of type 'torch.Size'"),
        "id_negative": (tensor(source=storage(count=-4)), "does not say how many"),
        "id_huge": (tensor(source=storage(count=1 << 50)), "does not say how many"),
        "id_view": (tensor(source=view + number(4) + integers((1, 2)) + b"tQ"), "a view of anoth"),
        "key_is_number": (tensor(source=storage().replace(text("0"), number(0))), "storage of"),
    }  # fmt: skip


def zip_files() -> dict[str, tuple[bytes, str]]:
    """Archives that are damaged, or contradict themselves."""
    good = zipped()
    fifty = 50_000_000
    outside = program(tensor(source=storage("../../etc/passwd")))
    wide = program(tensor(shape=(1,), strides=(1,), source=storage(count=fifty // 4)))
    many = archive({f"m/data/{k}": b"" for k in range(11_000)})
    return {
        "entries": (many, "0 entries named data.pkl"),
        "more_entries": (archive({f"{k}": b"" for k in range(11_001)}), "11001 entries, expected"),
        "cut": (good[:-1], "cut off"),
        "half": (good[: len(good) // 2], "cut off"),
        "appended": (good + b"x", "1 bytes after its end"),
        "prepended": (b"PK\3\4" + good, "a directory of"),
        "bit_flip": (changed(good, NUMBERS, bytes([1]) + NUMBERS[1:]), "a checksum is"),
        "bit_flip_pickle": (changed(good, text("cpu"), text("cpv")), "a checksum is"),
        "bomb": (bomb(wide, fifty), "would become 50,000,000 bytes"),
        "bomb_in_secret": (field(bomb(wide, fifty), DIRECTORY, 24, "<I", 16, 1), "different thi"),
        "bomb_in_pickle": (
            archive({"m/data.pkl": bytes(fifty)}, zipfile.ZIP_DEFLATED), "at most 8000000"
        ),
        "bomb_pickle": (
            archive({"m/data.pkl": b"]" * 7_900_000}, zipfile.ZIP_DEFLATED), "200000 opcodes"
        ),
        "too_good": (
            field(field(zipped(), DIRECTORY, 24, "<I", 1 << 30, 1), DIRECTORY, 10, "<H", 8, 1),
            "16 bytes cannot make 1073741824",
        ),
        "quoting": (quoting_bomb(), "overlap"),
        "twice": (
            archive({"m/data.pkl": STATE, "m/data+pkl": b"N."}).replace(b"+", b"."), "two entries"
        ),
        "up": (archive({"m/data.pkl": STATE, "../../x": b""}), "path that leads elsewhere"),
        "inside_up": (archive({"m/../../data.pkl": STATE}), "path that leads elsewhere"),
        "root": (archive({"/etc/cron.d/data.pkl": STATE}), "path that leads elsewhere"),
        "drive": (archive({"C:/data.pkl": STATE}), "path that leads elsewhere"),
        "backslash": (
            archive({"m/data.pkl": STATE, "m|x": b""}).replace(b"m|x", b"m\\x"), "leads elsewhere"
        ),
        "newline": (archive({"m/data.pkl": STATE, "m\n\x1b[2J": b""}), r"'m\\n\\x1b\[2J'"),
        "encrypted": (field(good, DIRECTORY, 8, "<H", 1, 1), "expected stored or deflated"),
        "method": (field(good, DIRECTORY, 10, "<H", 12, 1), "packed by method 12"),
        "other_name": (changed(good, b"m/data/0", b"m/data/1", 0), "different things"),
        "size": (field(good, DIRECTORY, 24, "<I", 1 << 30, 1), "is stored, but 16 bytes"),
        "sizes": (
            field(field(good, DIRECTORY, 24, "<I", 999, 1), DIRECTORY, 20, "<I", 999, 1),
            "different things",
        ),
        "zip64": (field(good, DIRECTORY, 24, "<I", 0xFFFFFFFF, 1), "lacks its 64-bit sizes"),
        "offset": (field(good, DIRECTORY, 42, "<I", 1 << 30, 1), "begins at byte 1073741824"),
        "count": (field(field(good, END, 8, "<H", 65535), END, 10, "<H", 65535), "65535 entries"),
        "count_less": (field(field(good, END, 8, "<H", 1), END, 10, "<H", 1), "after the last"),
        "directory": (field(good, END, 16, "<I", 1 << 31), "a directory of"),
        "parts": (field(good, END, 4, "<H", 1), "one part of several"),
        "no_pickle": (archive({"m/data/0": NUMBERS}), "0 entries named data.pkl"),
        "two_pickles": (archive({"m/data.pkl": STATE, "n/data.pkl": STATE}), "2 entries named"),
        "no_storage": (archive({"m/data.pkl": STATE}), "storage '0' is missing"),
        "storage_short": (zipped(numbers=NUMBERS[:8]), "has 8 bytes, expected 16"),
        "storage_long": (zipped(numbers=NUMBERS * 2), "has 32 bytes, expected 16"),
        "storage_outside": (zipped(outside), "is missing"),
        "storage_claims": (zipped(program(tensor(source=storage(count=1 << 40)))), "has 16 bytes"),
        "torchscript": (zipped(**{"m/constants.pkl": b"N."}), "TorchScript"),
        "deflate_damaged": (
            changed(
                archive({"m/data.pkl": STATE}, zipfile.ZIP_DEFLATED),
                zlib.compress(STATE, 6)[2:-4], b"\xff" * len(zlib.compress(STATE, 6)[2:-4]),
            ),
            "deflated bytes are damaged",
        ),
    }  # fmt: skip


def old_files() -> dict[str, tuple[bytes, str]]:
    """Files in PyTorch's old format."""
    good = old()
    tar = bytes(257) + b"ustar" + bytes(1000)
    return {
        "cut": (good[:-1], "15 bytes are left"),
        "cut_in_pickle": (good[:200], "ends too early"),
        "appended": (good + b"xx", "2 bytes after its last storage"),
        "magic": (pickle.dumps(5, 2) + good, "magic number"),
        "version": (changed(good, pickle.dumps(1001, 2), pickle.dumps(1002, 2)), "magic number"),
        "big_endian": (old(system={"little_endian": False}), "big-endian machine"),
        "storage_claims": (old(count=1 << 40), "has 1099511627776"),
        "storage_negative": (old(count=-1), "has -1"),
        "storage_beyond": (
            old(program(tensor(source=storage(count=1 << 40))), 1 << 40), "16 bytes are left"
        ),
        "keys": (old(keys=("1",)), "it lists 1 storages"),
        "keys_twice": (old(keys=("0", "0")), "it lists 2 storages"),
        "keys_no_texts": (old(keys=(0,)), "no list of keys"),
        "tar": (tar, "no opcode"),
        "html": (b"<!DOCTYPE html><title>404</title>", "is no opcode"),
        "empty": (b"", "ends too early"),
    }  # fmt: skip


def npz_files(sentinel: str) -> dict[str, tuple[bytes, str]]:
    objects = io.BytesIO()
    np.savez(objects, w=np.array([ObjectWith(f"touch {sentinel}")], dtype=object))
    evil = f"__import__('os').system('touch {sentinel}')"
    arrays = {f"{k}.npy": npy(header("(4,)")) for k in range(10_900)}
    zeros = npy(header("(12500000,)"), bytes(50_000_000))
    return {
        "arrays": (archive(arrays), "10900 tensors"),
        "objects": (objects.getvalue(), "array of Python objects"),
        "expression": (npz(header(evil)), "no array, by its header"),
        "fields": (npz(header("(4,)", descr="[('a', '<f4')]")), "no array, by its header"),
        "size": (npz(header("(5,)")), "needs number 4 of 4"),
        "size_less": (npz(header("(3,)")), "has 16 bytes of numbers, expected 12"),
        "size_huge": (npz(header("(99999999999, 99999999999)")), "expected|needs number"),
        "size_many_digits": (npz(header(f"({'9' * 3000},)")), "no array, by its header"),
        "negative": (npz(header("(-4,)")), "no array, by its header"),
        "type": (npz(header("(4,)", descr="'<f3'")), "numbers of type 'f3'"),
        "no_width": (npz(header("(4,)", descr="'<U0'")), "numbers of type 'U0'"),
        "header_long": (npz(header("(4,)"), length=65535), "header of 65545 bytes"),
        "header_short": (npz(header("(4,)"), length=20), "no array, by its header"),
        "no_array": (archive({"w.npy": b"hello"}), "is not a NumPy array"),
        "bit_flip": (changed(npz(header("(4,)")), NUMBERS, b"\1" + NUMBERS[1:]), "a checksum"),
        "bomb": (archive({"w.npy": zeros}, zipfile.ZIP_DEFLATED), "would become 50,000,0"),
        "bomb_says_less": (
            field(field(archive({"w.npy": zeros}, zipfile.ZIP_DEFLATED),
                        DIRECTORY, 24, "<I", 800), ENTRY, 22, "<I", 800),
            "bytes of numbers|needs number",
        ),
    }  # fmt: skip


def safetensors_files() -> dict[str, tuple[bytes, str]]:
    nan = json.dumps({"w": line()}).replace("16", "NaN")
    names = ", ".join(f'"{k}": 0' for k in range(200_000))
    a, b = line((2,), (0, 8)), line((2,), (8, 16))
    twice = json.dumps({"w": a, "v": b}).replace('"v"', '"w"')
    return {
        "huge": (struct.pack("<Q", 1 << 60) + b"{" + bytes(40), "table of 1152921504606846976"),
        "long": (table("{" + " " * 4_000_000 + "}"), "expected at most 2000000"),
        "lists": (table('{"a": [' + "[]," * 660_000 + "[]]}"), "is not described by"),
        "names": (
            table("{" + names[:1_900_000].rpartition(",")[0] + "}"),
            "[0-9]+ tensors, expected at most 10000",
        ),
        "nearly": (table("{" + names[:90_000].rpartition(",")[0] + "}"), "is not described"),
        "duplicate": (table(twice), "'w' stands in its table twice"),
        "overlap": (tensors(a=line((2,), (0, 8)), b=line((3,), (4, 16))), "begins at byte"),
        "gap": (tensors(a=line((2,), (0, 8)), b=line((1,), (12, 16))), "begins at byte"),
        "end": (tensors(a=line((2,), (0, 8))), "its numbers end at byte"),
        "beyond": (tensors(a=line((4, 2), (0, 32))), "its numbers end at byte"),
        "nan": (table(nan), "NaN in its table"),
        "nesting": (table('{"a":' + "[" * 100_000), "lists in lists"),
        "not_json": (table("{"), "Expecting"),
        "not_utf8": (table(b'{"\xff": 1}'), "utf-8"),
        "surrogate": (tensors(**{"\ud800": line()}), "surrogates"),
        "list": (table("[]"), "does not begin with {"),
        "digits": (table('{"w": ' + "9" * 10_000 + "}"), "4300 digits|integer string"),
        "overflow": (tensors(a=line((1 << 40, 1 << 40))), "needs number"),
        "shape": (tensors(a=line((True, 4))), "shape has 'True"),
        "negative": (tensors(a=line((-2, -2))), "shape has '-2"),
        "float": (tensors(a=line((2.0, 2))), "shape has float"),
        "backwards": (tensors(a=line(offsets=(16, 0))), r"data_offsets .\[16, 0"),
        "offsets": (tensors(a=line(offsets=(0, 16, 32))), "not two integers"),
        "dtype": (tensors(a=line(dtype="F8_E4M3")), "dtype 'F8_E4M3', expected BOOL"),
        "more": (tensors(a={**line(), "code": "os.system"}), "is not described by"),
        "metadata": (tensors(a=line(), __metadata__={"a": 1}), "are not texts"),
        "cut": (tensors(a=line())[:-1], "its numbers end at byte"),
        "seven": (b"\x05\0\0\0\0\0\0", "in a file of 7"),
    }


def files(sentinel: str) -> dict[str, tuple[bytes, str]]:
    """All of them, by the name of the file."""
    found = {}
    for name, (value, message) in code_carriers(sentinel).items():
        found[f"code_{name}.pth"] = zipped(program(value)), message
        if "names" in message:
            found[f"code_{name}_old.pth"] = old(program(value)), message
            found[f"code_{name}_bare.pth"] = program(value), message
    for name, (pickled, message) in pickles().items():
        found[f"pickle_{name}.pt"] = zipped(pickled), message
    for name, (value, message) in bad_tensors().items():
        found[f"tensor_{name}.pt"] = zipped(program(value)), message
    for kind, bad in (
        ("zip.pth", zip_files()),
        ("old.th", old_files()),
        ("npz.npz", npz_files(sentinel)),
        ("st.safetensors", safetensors_files()),
    ):
        for name, (raw, message) in bad.items():
            found[f"{name}_{kind}"] = raw, message
    return found
