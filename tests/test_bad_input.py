"""Whatever is handed in: a right answer, or one clear sentence of this library; no obscure error, and no
wrong figure in silence.
"""

import contextlib
import datetime
import io
import random
import re
import traceback
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import seqrec_nb
from seqrec_nb.batches import prefix_rows, user_rows
from seqrec_nb.data import from_frame, load
from seqrec_nb.methods.atsrec import atsrec
from seqrec_nb.methods.cloze import BERT4Rec
from seqrec_nb.methods.convolution import Caser, window_rows
from seqrec_nb.methods.counts import Cooccurrence, DecayedTransitions, Popularity
from seqrec_nb.methods.factors import BPRMF
from seqrec_nb.methods.fenrec import FENRec
from seqrec_nb.methods.genni import GenNi
from seqrec_nb.methods.intents import ICLRec, ICSRec
from seqrec_nb.methods.pretraining import S3RecPretraining
from seqrec_nb.methods.recurrent import NARM, GRU4Rec
from seqrec_nb.methods.s4rec import S4Rec
from seqrec_nb.methods.sasrec import SASRec
from seqrec_nb.methods.sparseennet import SparseEnNet
from seqrec_nb.methods.views import CL4SRec, CoSeRec, DuoRec
from seqrec_nb.production.recommend import recommend, recommend_users

HOME = str(Path(seqrec_nb.__file__).parent)
NAN, INF = float("nan"), float("inf")


def clear_error(call, *args, **kw):
    """What the error says that the call must raise: of a kind that one expects, raised by this library, in
    one or two sentences.
    """
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            call(*args, **kw)
    except (ValueError, TypeError, KeyError) as e:
        frame = traceback.extract_tb(e.__traceback__)[-1]
        assert frame.filename.startswith(HOME) and "raise" in frame.line, (
            f"{type(e).__name__} from {frame.filename}, line {frame.lineno}: {e}"
        )
        text = str(e.args[0])
        sentences = [s for s in re.split(r"[.!?:](?:\s+(?=[A-Z])|$)", text) if s]
        assert 12 < len(text) < 500 and "\n" not in text and len(sentences) <= 2, text
        return text
    raise AssertionError(f"accepted in silence: {getattr(call, '__name__', call)} {kw}")


# ---- tables ----


def good():
    "Seven users who took five of seven items each, at different times."
    rows = [(f"u{u}", f"i{(u + j) % 7}", 10 * u + j) for u in range(7) for j in range(5)]
    return pd.DataFrame(rows, columns=["user", "item", "time"])


def put(column, value, row=3):
    "The good table with one other value."
    df = good().astype({column: object})
    df.loc[row, column] = value
    return df.infer_objects()


def zones(df):
    "Times as datetimes of different zones."
    each = [
        pd.Timestamp("2026-01-01", tz=z) + pd.Timedelta(int(t), "h")
        for t, z in zip(df.time, ["UTC", "Asia/Tokyo"] * len(df))
    ]
    return pd.Series(each, dtype=object)


D = datetime
TABLES = {
    "a list": ([1, 2], "this is a list"),
    "None": (None, "this is a NoneType"),
    "a dictionary": (good().to_dict("list"), "this is a dict"),
    "a series": (good().user, "this is a Series"),
    "a path": ("ratings.csv", "this is a str"),
    "an array": (good().to_numpy(), "this is a ndarray"),
    "no rows": (good()[:0], "is empty"),
    "no columns": (pd.DataFrame(index=range(3)), "no column"),
    "no user": (good().drop(columns="user"), "no column 'user'"),
    "no time": (good().drop(columns="time"), "no column 'time'"),
    "capital letters": (good().rename(columns=str.title), "no column 'user'"),
    "blanks in names": (good().rename(columns=lambda c: f" {c}"), "no column 'user'"),
    "user twice": (pd.concat([good(), good()[["user"]]], axis=1), "names more than one"),
    "time twice": (pd.concat([good(), good()[["time"]]], axis=1), "names more than one"),
    "user missing": (put("user", None), "row 3 lacks a value"),
    "item missing": (put("item", None), "row 3 lacks a value"),
    "item NaN": (put("item", NAN), "row 3 lacks a value"),
    "time NaN": (put("time", NAN), "row 3 lacks a value"),
    "time NaT": (
        good().assign(time=pd.to_datetime(good().time).where(good().index != 3)),
        "row 3 lacks a value",
    ),
    "nullable time missing": (
        good().assign(time=good().time.astype("Int64").where(good().index != 3)),
        "row 3 lacks a value",
    ),
    "time infinite": (put("time", INF), "row 3: the time is infinite"),
    "time minus infinite": (put("time", -INF), "row 3: the time is infinite"),
    "times as texts": (good().assign(time=good().time.astype(str)), "pd.to_numeric"),
    "dates as texts": (
        good().assign(time=pd.to_datetime(good().time, unit="D").dt.strftime("%d.%m.%Y")),
        "pd.to_datetime",
    ),
    "times partly texts": (put("time", "3"), "pd.to_numeric"),
    "times as flags": (good().assign(time=True), "holds bool"),
    "times complex": (good().assign(time=good().time + 1j), "holds complex"),
    "times in categories": (good().assign(time=good().time.astype("category")), "holds category"),
    "times in lists": (good().assign(time=[[t] for t in good().time]), "convert it first"),
    "times of several zones": (good().assign(time=zones(good())), "utc=True"),
    "times with and without zone": (put("time", pd.Timestamp("2026-01-01", tz="UTC")), "convert it first"),
    "dates of the day": (
        good().assign(time=[D.date(2026, 1, 1 + t % 28) for t in good().time]),
        "pd.to_datetime",
    ),
    "ids of two kinds": (put("item", 3), "holds int and str"),
    "users of two kinds": (put("user", 3), "holds int and str"),
    "ids in lists": (good().assign(item=[[i] for i in good()["item"]]), "df.explode"),
    "ids with decimals": (good().assign(item=good()["item"].str[1:].astype(float)), "numbers with decimals"),
    "users with decimals": (good().assign(user=good().user.str[1:].astype(float)), "numbers with decimals"),
    "a row twice": (pd.concat([good(), good()[3:4]], ignore_index=True), "row 35 repeats"),
    "all rows twice": (pd.concat([good(), good()]), "repeats an earlier one"),
    "one time for all": (good().assign(time=0), "order of lines decides for 7 of 7 users"),
    "days": (good().assign(time=good().time // 2), "order of lines decides"),
    "the last two tied": (good().assign(time=good().time - (good().time % 5 == 4)), "7 of 7 users (100.0%)"),
    "one user": (good()[:5], "is empty"),
    "two items a user": (good().groupby("user").head(2), "3-core of these 14 interactions is empty"),
    "no item thrice": (good().assign(item=range(35)), "3-core of these 35 interactions is empty"),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_that_are_refused(name):
    df, part = TABLES[name]
    assert part in clear_error(from_frame, df, k_core=3)


ARGUMENTS = [
    (dict(k_core=2), "k_core must be 3"),
    (dict(k_core=0), "k_core must be 3"),
    (dict(k_core=-5), "k_core must be 3"),
    *(
        (dict(k_core=k), "a whole number, 3 or more")
        for k in (3.7, 3.0, True, False, NAN, INF, None, "3", [3])
    ),
    (dict(k_core=6), "6-core"),
    (dict(user="who"), "no column 'who'"),
    (dict(user=["user"]), "is no column's name"),
    (dict(user="item"), "names more than one"),
    (dict(time="user"), "names more than one"),
    (dict(user=None), "no column None"),
    (dict(time=0), "no column 0"),
    *((dict(duplicates=d), "duplicates=") for d in ("first", None, True, ["drop"])),
    *((dict(ties=t), "ties=") for t in ("keep", None, True, 1)),
    (dict(tie_break="line"), "no column 'line'"),
    (dict(tie_break=["line"]), "no column 'line'"),
    (dict(tie_break="user"), "not that of time"),
    (dict(tie_break=[["time"]]), "no column's name"),
    (dict(tie_break=3), "no column 3"),
    (dict(names={"x": "tea"}), "none of the 7 items has a name"),
    (dict(attributes={"x": ["tea"]}), "none of the 7 items"),
    (dict(attributes={"i1": "tea"}), "a list of labels"),
    (dict(attributes=["tea"]), "labels are a list"),
]


@pytest.mark.parametrize("kw, part", ARGUMENTS, ids=lambda x: str(x)[:40])
def test_arguments_of_from_frame_that_are_refused(kw, part):
    assert part in clear_error(from_frame, good(), **{"k_core": 3, **kw})


def sequences(ds):
    return {u: [ds.item_ids[i] for i in s.tolist()] for u, s in zip(ds.user_ids, ds)}


RIGHT = {
    "rows in another order": lambda df: df.sample(frac=1, random_state=0),
    "an index of texts": lambda df: df.set_index(pd.Index([f"r{i}" for i in df.index])),
    "an index of equal labels": lambda df: df.set_index(pd.Index([0] * len(df))),
    "further columns": lambda df: df.assign(stars=5, **{"0": None}),
    "times as datetimes": lambda df: df.assign(time=pd.to_datetime(df.time, unit="s")),
    "times in one zone": lambda df: df.assign(time=pd.to_datetime(df.time, unit="s", utc=True)),
    "the remedy for several zones": lambda df: df.assign(
        time=pd.to_datetime(
            pd.Series(
                [
                    pd.Timestamp(t, unit="h", tz="UTC").tz_convert(z)
                    for t, z in zip(df.time, ["UTC", "Asia/Tokyo"] * len(df))
                ],
                dtype=object,
            ),
            utc=True,
        )
    ),
    "times as durations": lambda df: df.assign(time=pd.to_timedelta(df.time, "D")),
    "negative times": lambda df: df.assign(time=df.time - 1000),
    "times with decimals": lambda df: df.assign(time=df.time / 3),
    "small times": lambda df: df.assign(time=df.time.astype("uint8")),
    "nullable times": lambda df: df.assign(time=df.time.astype("Int64")),
    "ids in categories": lambda df: df.astype({"user": "category", "item": "category"}),
    "somebody with two items": lambda df: pd.concat(
        [df, pd.DataFrame(dict(user="seldom", item=["i1", "i2"], time=[1, 2]))]
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_tables_that_are_right_give_the_same_sequences(name):
    with contextlib.redirect_stderr(io.StringIO()):
        ds = from_frame(RIGHT[name](good()), k_core=3)
    assert sequences(ds) == good().groupby("user")["item"].apply(list).to_dict() and ds.ties is None


def by_hand(rows, k):  # rows (user, item, time), in their order -> user -> items
    """What `from_frame` should give, in plain Python: the core, then each user's rows by time, and lines of
    one time in their order.
    """
    while True:
        count = {}
        for u, i, _ in rows:
            for key in (("user", u), ("item", i)):
                count[key] = count.get(key, 0) + 1
        kept = [(u, i, t) for u, i, t in rows if count["user", u] >= k and count["item", i] >= k]
        if len(kept) == len(rows):
            break
        rows = kept
    out = {}
    for u, i, _ in sorted(rows, key=lambda r: r[2]):
        out.setdefault(u, []).append(i)
    return out


@pytest.mark.parametrize("seed", range(25))
def test_tables_at_random(seed):
    "A few rows of a random table are made odd. Whatever comes out is right, or the reason is said."
    r = random.Random(seed)
    rows = [[r.choice("abcdefgh"), f"i{r.randrange(7)}", r.randrange(60)] for _ in range(70)]
    odd = [None, NAN, INF, "x", -1, [1], True, 1.5]
    for _ in range(r.choice((0, 0, 1, 2))):
        rows[r.randrange(70)][r.randrange(3)] = r.choice(odd)
    df = pd.DataFrame(rows, columns=["user", "item", "time"]).infer_objects()
    kw = dict(
        k_core=3, duplicates=r.choice(("keep", "refuse", "drop")), ties=r.choice(("refuse", "file order"))
    )
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            ds = from_frame(df, **kw)
    except Exception:
        clear_error(from_frame, df, **kw)
    else:
        plain = list(map(tuple, df.itertuples(index=False)))
        want = by_hand(list(dict.fromkeys(plain)) if kw["duplicates"] == "drop" else plain, 3)
        assert sequences(ds) == want
        back = df[::-1]
        # then the order of lines decides nothing that is held out
        if ds.ties is None and kw["duplicates"] != "keep":
            with contextlib.redirect_stderr(io.StringIO()):
                other = sequences(from_frame(back, **kw))
            assert {u: s[-2:] for u, s in other.items()} == {u: s[-2:] for u, s in want.items()}


# ---- histories ----


@pytest.fixture(scope="module")
def shop():
    return load()


@pytest.fixture(scope="module")
def counter(shop):
    return DecayedTransitions(shop)


IDS = [5, 9, 2]
HISTORIES = {
    "None": (None, "the history is None"),
    "nothing": ([], "is empty"),
    "an empty array": (np.array([]), "is empty"),
    "a text": ("5 9 2", "give a list of ids"),
    "bytes": (b"5", "give a list of ids"),
    "a number": (5, "is a int"),
    "a set": ({5, 9}, "is a set"),
    "a dictionary": ({5: 1}, "is a dict"),
    "a generator": ((i for i in IDS), "is a generator"),
    "a map": (map(int, IDS), "is a map"),
    "a table": (pd.DataFrame(dict(item=IDS)), "is a DataFrame"),
    "a history among ids": ([5, IDS], "holds a list beside ids"),
    "an empty one among histories": ([IDS, []], "is empty"),
    "a set among histories": ([IDS, set(IDS)], "holds a list beside ids"),
    "histories of histories": ([[IDS, IDS]], "holds a list beside ids"),
    "an array of three dimensions": (np.zeros((2, 2, 2)), "has 3 dimensions"),
    "an id that is unknown": ([5, 10**6], "no item 1000000"),
    "padding": ([0], "no item 0"),
    "minus one": ([-1], "no item -1"),
    "half": ([1.5], "no item 1.5"),
    "NaN": ([NAN], "no item nan"),
    "a None inside": ([5, None], "no item None"),
    "True": ([True], "no item True"),
    "a pair inside": ([(5, 9)], "no item (5, 9)"),
    "a number in letters": (["five"], "no item 'five'"),
    "a blank around": ([" 5"], "no item ' 5'"),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_histories_that_are_refused(shop, counter, name):
    history, part = HISTORIES[name]
    assert part in clear_error(recommend, counter, shop, history)


@pytest.mark.parametrize(
    "kind",
    (
        list,
        tuple,
        np.array,
        pd.Series,
        pd.Index,
        torch.tensor,
        lambda x: list(map(str, x)),
        lambda x: np.array(x, dtype=float),
        lambda x: pd.Series(x, index=[7, 7, 7]),
        lambda x: np.array(x, dtype="int16"),
    ),
)
def test_histories_that_are_right_give_the_same_answer(shop, counter, kind):
    assert recommend(counter, shop, kind(IDS), k=4).equals(recommend(counter, shop, IDS, k=4))


@pytest.mark.parametrize(
    "kind", (list, pd.Series, np.array, torch.tensor, lambda x: [np.array(h) for h in x])
)
def test_several_histories_give_the_answers_of_each(shop, counter, kind):
    two = [IDS, IDS[::-1]]
    alone = [recommend(counter, shop, h, k=4)["item"].tolist() for h in two]
    both = recommend(counter, shop, kind(two), k=4)
    assert [both[both.history == i]["item"].tolist() for i in (0, 1)] == alone


ASKED = [(n, x) for n in ("k", "max_len") for x in (0, -3, 2.5, 3.0, NAN, INF, True, "3", [3])] + [
    ("k", None)
]


@pytest.mark.parametrize("name, value", ASKED)
def test_numbers_of_a_recommendation_that_are_refused(shop, counter, name, value):
    for ask, given in ((recommend, IDS), (recommend_users, shop.user_ids[:2])):
        assert f"{name}={value!r}: a whole number, 1 or more" in clear_error(
            ask, counter, shop, given, **{name: value}
        )


@pytest.mark.parametrize(
    "users, part",
    (("u1", "give a list of ids"), ([10**9], "no user"), ([None], "no user None"), ([True], "no user True")),
)
def test_users_that_are_refused(shop, counter, users, part):
    assert part in clear_error(recommend_users, counter, shop, users)


@pytest.mark.parametrize(
    "model, part",
    (
        (None, "NoneType has no score"),
        ("a run", "str has no score"),
        (DecayedTransitions, "has no score"),
        (dict(), "dict has no score"),
    ),
)
def test_models_that_are_none(shop, model, part):
    assert part in clear_error(recommend, model, shop, IDS)


# ---- settings ----

SIZES = (0, -1, 2.5, 64.0, NAN, INF, True, None, "64")
METHODS = {
    SASRec: "max_len dim",
    GRU4Rec: "max_len dim hidden layers",
    NARM: "max_len dim",
    Caser: "max_len dim targets k horizontal vertical",
    BPRMF: "dim",
    DuoRec: "max_len dim",
    FENRec: "n_clusters later",
    ICSRec: "n_clusters later",
    ICLRec: "n_clusters later",
    S4Rec: "n_clusters rounds",
    SparseEnNet: "n_clusters later",
    GenNi: "k",
    DecayedTransitions: "window last",
    Cooccurrence: "window",
}


@pytest.mark.parametrize("method, name", [(m, n) for m, names in METHODS.items() for n in names.split()])
def test_sizes_that_are_refused(shop, method, name):
    for value in SIZES:
        assert f"{name}={value!r}: a whole number, 1 or more" in clear_error(method, shop, **{name: value})


@pytest.mark.parametrize(
    "method",
    (
        SASRec,
        GRU4Rec,
        NARM,
        Caser,
        BERT4Rec,
        CL4SRec,
        CoSeRec,
        DuoRec,
        ICLRec,
        ICSRec,
        S3RecPretraining,
        GenNi,
        S4Rec,
        SparseEnNet,
        FENRec,
    ),
)
def test_dropout_that_is_refused(shop, method):
    for value in (-0.1, 1, 1.0, 2.0, NAN, INF, None, True, ".5"):
        said = clear_error(method, shop, dropout=value)
        assert f"dropout={value!r}" in said, value


NUMBERS = {
    DecayedTransitions: "d back a b hd",
    Cooccurrence: "decay pop",
    CL4SRec: "views tau",
    CoSeRec: "views tau",
    DuoRec: "views weight_again tau",
    ICLRec: "views intents tau",
    ICSRec: "coarse fine tau",
    S3RecPretraining: "aap mip map sp mask",
    GenNi: "alpha",
    S4Rec: "clusters views distillation head tau1 tau2 tau3 eps",
    SparseEnNet: "views clusters augmentation stability tau",
    FENRec: "coarse fine gamma mu tau tau2 noise",
}


@pytest.mark.parametrize("method, name", [(m, n) for m, names in NUMBERS.items() for n in names.split()])
def test_weights_and_temperatures_that_are_refused(shop, method, name):
    for value in (NAN, INF, -1.0):
        assert str(value) in clear_error(method, shop, **{name: value})


OTHERS = [
    (CoSeRec, dict(threshold=NAN), "threshold=nan"),
    (FENRec, dict(m=NAN), "m=nan"),
    (FENRec, dict(mix=NAN), "mix=nan"),
    (FENRec, dict(warmup=NAN), "warmup=nan"),
    (CoSeRec, dict(warmup=NAN), "warmup=nan"),
    (S4Rec, dict(head_share=NAN), "head_share=nan"),
    (SparseEnNet, dict(reversal=NAN), "reversal=nan"),
    (SparseEnNet, dict(pool_ratio=NAN), "pool_ratio=nan"),
    (SparseEnNet, dict(hidden=0), "hidden=0"),
    (SparseEnNet, dict(hidden=2.5), "hidden=2.5"),
    (GenNi, dict(beta=NAN), "beta=nan"),
    (GenNi, dict(growing=NAN), "growing=nan"),
    (GenNi, dict(pace=NAN), "pace=nan"),
    (BERT4Rec, dict(hide=NAN), "hide=nan"),
    (BERT4Rec, dict(last=NAN), "last=nan"),
    (SASRec, dict(layers=-1), "layers=-1"),
    (SASRec, dict(layers=1.0), "layers=1.0"),
    (SASRec, dict(layers=True), "layers=True"),
    (SASRec, dict(heads=0), "heads=0"),
    (SASRec, dict(heads=2.0), "heads=2.0"),
    (SASRec, dict(heads=3), "equal parts"),
    (SASRec, dict(loss="mse"), "one of ce"),
    (NARM, dict(dropout_out=NAN), "dropout_out=nan"),
    (NARM, dict(dropout_out=1.0), "dropout_out=1.0"),
]


@pytest.mark.parametrize("method, kw, part", OTHERS, ids=lambda x: getattr(x, "__name__", str(x)))
def test_other_settings_that_are_refused(shop, method, kw, part):
    assert part in clear_error(method, shop, **kw)


@pytest.mark.parametrize("rows", (user_rows, prefix_rows, window_rows))
def test_rows_that_are_refused(shop, rows):
    for value in SIZES:
        assert f"max_len={value!r}: a whole number, 1 or more" in clear_error(rows, shop, max_len=value)
    for value in SIZES:
        assert f"batch_size={value!r}: a whole number, 1 or more" in clear_error(rows(shop).batches, value)


@pytest.mark.parametrize(
    "kw",
    (
        dict(eps=NAN),
        dict(eps=-1),
        dict(eta=NAN),
        dict(eta=0),
        dict(steps=NAN),
        dict(steps=0),
        dict(steps=2.5),
    ),
    ids=str,
)
def test_steps_that_are_refused(kw):
    assert str(next(iter(kw.values()))) in clear_error(atsrec, **kw)


def test_what_is_right_is_taken(shop):
    "The checks refuse nothing that is a size or a weight, whatever type holds it."
    SASRec(shop, dim=np.int64(8), layers=0, heads=1, dropout=0)
    GRU4Rec(shop, dim=4, hidden=4, dropout=np.float64(0.5))
    S4Rec(shop, clusters=0, views=np.float32(0.1), head=1, n_clusters=np.int32(4), dim=8, heads=1)
    DuoRec(shop, views=0, tau=1, dim=8)
    assert Popularity(shop) is not None
    assert len(recommend(DecayedTransitions(shop, a=0, b=1, last=np.int64(3)), shop, IDS, k=np.int64(2))) == 2
