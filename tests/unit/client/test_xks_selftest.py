"""The selftest of XKS proxies: it lets a good one pass, and names what is wrong with a bad one."""

import json
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.client.fake_daemon import Pems
from tests.unit.client.mock_proxy import ACCESS_KEY_ID, BASE, SECRET, MockProxy

from strongroom.cli import main as cli
from strongroom.xks import Credential, ProxyClient, Trust
from strongroom.xks import selftest as examination
from strongroom.xks.selftest import Report, Verdict, findings, timing
from strongroom.xks.selftest.probe import Probe

Start = Callable[..., str]
OURS = Credential(ACCESS_KEY_ID, SECRET)
CDIV_TRIPS = {"without AAD, CDIV", "with AAD, CDIV", "1 byte", "4,300 bytes", "8,192 bytes of AAD"}
LONG_TRIP = "4,300 bytes with 8,192 of AAD"


@pytest.fixture
def start() -> Iterator[Start]:
    """Start proxies; gives their URLs."""
    started: list[MockProxy] = []

    def serve(*defects: str, **how: object) -> str:
        started.append(MockProxy(defects=set(defects), **how))  # type: ignore[arg-type]
        return started[-1].start()

    yield serve
    for each in started:
        each.stop()


@pytest.fixture
def pem(pems: Pems, tmp_path: Path) -> Path:
    """Chain and key of a server, in one file."""
    (tmp_path / "server.pem").write_bytes(b"".join(pems.server))
    return tmp_path / "server.pem"


def examined(url: str, credential: Credential = OURS, ca: Path | None = None, key: str = "foo") -> Report:
    with ProxyClient(url, credential, trust=Trust(ca), insecure_http=True, timeout=2.0) as client:
        return examination.examine(client, key, rounds=2)


def ended(report: Report, verdict: Verdict) -> set[str]:
    return {each.check for each in report.findings if each.verdict is verdict}


def test_a_good_proxy_passes_every_check(start: Start, pem: Path, pems: Pems) -> None:
    report = examined(start(pem=pem), ca=pems.ca)

    assert report.passed
    # It is this machine's, of an authority of the test's own, for an hour.
    assert ended(report, Verdict.WARN) == {"fit for KMS", "certificate", "authority"}
    assert ended(report, Verdict.SKIP) == set()
    suite = next(each.detail for each in report.findings if each.check == "TLS suite")
    assert suite == "TLSv1.3 TLS_AES_256_GCM_SHA384"


@pytest.mark.parametrize(
    ("defect", "failing"),
    [
        ("aad-unbound", {"changed AAD", "missing AAD"}),
        ("answers-get", {"GET"}),
        ("any-algorithm", {"unknown encryptionAlgorithm"}),
        ("any-clock", {"clock 6 minutes behind", "clock 6 minutes ahead"}),
        ("any-day", {"signed for another day"}),
        ("any-secret", {"wrong secret", "body changed after signing"}),
        ("body-unsigned", {"wrong secret", "body changed after signing"}),
        ("cdiv-without-aad", {"with AAD, CDIV", "8,192 bytes of AAD", LONG_TRIP, "encrypt with CDIV"}),
        ("forgets-cdiv", CDIV_TRIPS | {LONG_TRIP, "each kmsOperation", "encrypt with CDIV"}),
        ("closed-fields", {"further fields of requestMetadata"}),
        ("crashes", {"no JSON"}),
        ("credentials-before-path", {"unknown prefix"}),
        ("disabled", {"key metadata"}),
        ("rsa-0", {"key metadata"}),
        ("fixed-iv", {"IVs are fresh"}),
        ("metadata-unbound", {"changed ciphertextMetadata"}),
        ("unframed", {"metadata moved into the AAD"}),
        ("no-fleet", {"health"}),
        ("twins", {"health"}),
        ("unavailable", {"health"}),
        ("reverses", {"without AAD", "with AAD", LONG_TRIP} | CDIV_TRIPS - {"1 byte"}),
        (
            "loose-base64",
            {"base64 with other characters", "base64 of the URL alphabet"},
        ),
        (
            "unknown-key-is-400",
            {f"{call} an unknown key" for call in ("metadata of", "encrypt under", "decrypt under")},
        ),
        (
            "forgery-is-500",
            {f"changed {part}" for part in ("ciphertext", "tag", "IV", "ciphertextMetadata", "AAD")}
            | {"missing AAD", "metadata moved into the AAD"},
        ),
    ],
)
def test_a_defect_fails_the_checks_that_are_about_it(start: Start, defect: str, failing: set[str]) -> None:
    assert ended(examined(start(defect)), Verdict.FAIL) == failing


@pytest.mark.parametrize("defect", ["short-iv", "unpadded", "long-metadata"])
def test_parts_of_a_wrong_length_or_shape_fail_every_encryption(start: Start, defect: str) -> None:
    assert {*CDIV_TRIPS, "without AAD", "IVs are fresh"} <= ended(examined(start(defect)), Verdict.FAIL)


@pytest.mark.parametrize("defect", ["errors-as-text", "long-messages"])
def test_refusals_that_kms_could_not_read_fail(start: Start, defect: str) -> None:
    report = examined(start(defect))

    refusals = {each.check for each in report.findings if each.group == "refusals"}
    assert ended(report, Verdict.FAIL) == refusals - {
        "GET",
        "body of 1 MiB",
        "clock 4 minutes off is taken",
    } - ({"body of 1 MiB"} if defect == "long-messages" else set())


def test_a_proxy_that_asks_for_no_signature_fails_each_check_of_signatures(start: Start) -> None:
    failed = ended(examined(start("unsigned-is-fine")), Verdict.FAIL)

    assert {"no signature", "wrong secret", "unknown access key id", "signed for another service"} <= failed


def test_closed_connections_and_loose_base64_are_worth_a_look(start: Start) -> None:
    warned = ended(examined(start("closes", "loose-base64")), Verdict.WARN)

    assert {"keep-alive", "base64 with spare bits", "base64 with line breaks"} <= warned


def test_a_slow_proxy_fails_the_timings(start: Start) -> None:
    with ProxyClient(start("slow"), OURS, insecure_http=True) as client:
        found = findings.examine(timing.TIMING, Probe(client, "foo", 1), lambda _: None)

    assert [each.verdict for each in found] == ["pass", "pass", "fail", "fail"]
    assert "KMS gives up after 250 ms" in found[-1].detail


def test_what_makes_no_sense_any_more_is_skipped(start: Start) -> None:
    wrong = examined(start(), Credential(ACCESS_KEY_ID, "W" * 43))
    unknown = examined(start(), key="bar")

    assert ended(wrong, Verdict.FAIL) == {"health"}
    assert {"key metadata", "with AAD", "GET", "encrypt with CDIV"} <= ended(wrong, Verdict.SKIP)
    assert ended(unknown, Verdict.FAIL) == {"key metadata"}
    assert "KeyNotFoundException" in next(e.detail for e in unknown.findings if e.verdict is Verdict.FAIL)


def test_a_proxy_that_is_not_there_fails_and_nothing_else_is_tried() -> None:
    report = examined(f"http://127.0.0.1:1{BASE}")

    assert ended(report, Verdict.FAIL) == {"opens"}
    assert report.count(Verdict.SKIP) == len(examination.CHECKS) - 3


def test_a_certificate_of_an_unknown_authority_ends_it(start: Start, pem: Path) -> None:
    report = examined(start(pem=pem))

    assert ended(report, Verdict.FAIL) == {"opens"}
    assert "certificate" in next(each.detail for each in report.findings if each.check == "opens")


def test_tls_1_2_alone_is_enough(start: Start, pem: Path, pems: Pems) -> None:
    report = examined(start(pem=pem, newest=ssl.TLSVersion.TLSv1_2), ca=pems.ca)

    assert report.passed
    suite = next(each.detail for each in report.findings if each.check == "TLS suite")
    assert suite == "TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384"


def test_the_secret_is_in_no_finding_and_no_repr(start: Start) -> None:
    report = examined(start("any-secret"))

    assert SECRET not in repr(report) + repr(OURS)


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run one command in this process; answers exit code, standard output and standard error."""
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def invoke(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            cli.main(arguments)
        sys.stdout.flush()
        out, err = capfd.readouterr()
        return int(stopped.value.code or 0), out, err

    return invoke


def test_the_command_reads_the_console_file_and_takes_its_path(
    start: Start, run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    url = start()
    pair = {"AccessKeyId": ACCESS_KEY_ID, "RawSecretAccessKey": SECRET}
    file = tmp_path / "store.json"
    file.write_text(json.dumps({"XksProxyUriPath": BASE, "XksProxyAuthenticationCredential": pair}))

    code, out, err = run(
        "xks", "selftest", url.removesuffix(BASE), "--credentials", str(file), "--key", "foo", "--insecure-http",
        "--rounds", "2",
    )  # fmt: skip

    assert code == 0, err
    assert "encrypt with CDIV" in out
    assert f"{url}: " in err
    assert SECRET not in out + err


def test_the_command_takes_the_environment_and_gives_json_and_exit_code_1(
    start: Start, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRONGROOM_XKS_ACCESS_KEY_ID", ACCESS_KEY_ID)
    monkeypatch.setenv("STRONGROOM_XKS_SECRET_ACCESS_KEY", SECRET)

    code, out, _ = run(
        "--json", "xks", "selftest", start("rsa-0"), "--key", "foo", "--insecure-http", "--rounds", "2"
    )

    report = json.loads(out)
    assert (code, report["passed"], report["fail"]) == (1, False, 1)
    failed = [each for each in report["findings"] if each["verdict"] == "fail"]
    assert failed[0]["check"] == "key metadata"
    assert "RSA_0" in failed[0]["detail"]


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"{}", 8), (b"[", 8), (b"\xff", 8), (b'{"XksProxyAuthenticationCredential": 5}', 8), (None, 4)],
)
def test_a_file_that_is_not_the_consoles_is_refused(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, content: bytes | None, code: int
) -> None:
    file = tmp_path / "store.json"
    if content is not None:
        file.write_bytes(content)

    assert (
        run("xks", "selftest", "https://x.test" + BASE, "--credentials", str(file), "--key", "k")[0] == code
    )


def test_without_a_credential_it_says_where_to_put_one(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STRONGROOM_XKS_ACCESS_KEY_ID", raising=False)

    code, _, err = run("xks", "selftest", "https://x.test" + BASE, "--key", "k")

    assert code == 8
    assert "STRONGROOM_XKS_ACCESS_KEY_ID" in err


def test_without_tls_one_warning_is_enough(start: Start) -> None:
    report = examined(start())

    assert ended(report, Verdict.WARN) == {"fit for KMS", "TLS suite"}
    assert ended(report, Verdict.SKIP) == {"TLS 1.2 suite", "certificate", "authority"}
