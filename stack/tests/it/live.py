"""Calls a live cell as a client of another make: keys, certificates and signatures by openssl, requests by curl.

    python3 live.py prepare FOLDER      makes them in FOLDER, and prints [[environments]] of a cell for them
    python3 live.py check FOLDER URL    asks the cell at URL for what it has to do and to refuse
"""

import base64
import concurrent.futures
import hashlib
import json
import pathlib
import subprocess
import sys
import time
import uuid

FOLDER = pathlib.Path(sys.argv[2])
ENVIRONMENTS = ["env_00000000000000000000000001", "env_00000000000000000000000002"]
# Names of clients; the last one's certificate has ended.
CLIENTS = {name: f"cli_0000000000000000000000000{number}" for number, name in enumerate("abcd", 1)}


def run(*command, stdin=None):
    done = subprocess.run(command, cwd=FOLDER, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, (command, done.stderr.decode())
    return done.stdout


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def make(name, days):
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
    run("openssl", "req", "-new", "-key", f"{name}.key", "-subj", f"/CN={name}", "-out", f"{name}.csr")
    run("openssl", "x509", "-req", "-in", f"{name}.csr", "-signkey", f"{name}.key", "-days", days, "-out", f"{name}.pem")


def thumbprint(name):
    return b64(hashlib.sha256(run("openssl", "x509", "-in", f"{name}.pem", "-outform", "DER")).digest())


def jwk(name):
    point = run("openssl", "ec", "-in", f"{name}.key", "-pubout", "-outform", "DER")[-64:]
    return {"crv": "P-256", "kty": "EC", "x": b64(point[:32]), "y": b64(point[32:])}


def signed(name, header, claims):
    text = ".".join(b64(json.dumps(part).encode()) for part in (header, claims))
    der = run("openssl", "dgst", "-sha256", "-sign", f"{name}.key", stdin=text.encode())
    # SEQUENCE { INTEGER r, INTEGER s }, each of at most 33 bytes.
    r_end = 4 + der[3]
    r, s = der[4:r_end], der[r_end + 2 :]
    return f"{text}.{b64(b''.join(int.from_bytes(part, 'big').to_bytes(32, 'big') for part in (r, s)))}"


def prepare():
    for name in CLIENTS:
        make(name, "-1" if name == "d" else "30")
    # The server: a root, and a certificate for this machine below it.
    make("root", "30")
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "server.ec")
    run("openssl", "pkcs8", "-topk8", "-nocrypt", "-in", "server.ec", "-out", "server.key")
    run("openssl", "req", "-new", "-key", "server.key", "-subj", "/CN=cell", "-out", "server.csr")
    (FOLDER / "names").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n", encoding="utf-8")
    run("openssl", "x509", "-req", "-in", "server.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial",
        "-days", "30", "-extfile", "names", "-out", "server.pem")  # fmt: skip
    by_certificate = 'thumbprints = ["{}"]\nbinding = "certificate"\n'
    by_key = 'keys = [{{ kid = "b", x = "{x}", y = "{y}" }}]\nbinding = "dpop"\n'
    for environment, names in zip(ENVIRONMENTS, ("abd", "c")):
        print(f'[[environments]]\nid = "{environment}"\nshard = 0')
        for name in names:
            print(f'[[environments.clients]]\nid = "{CLIENTS[name]}"\nname = "{name}"')
            print(by_key.format(**jwk(name)) if name == "b" else by_certificate.format(thumbprint(name)))


def curl(path, *options, cert=None, method="GET"):
    shown = ("--cert", f"{cert}.pem", "--key", f"{cert}.key") if cert else ()
    answer = run("curl", "--silent", "--show-error", "--cacert", "root.pem", "--request", method, *shown, *options,
                 "--write-out", "\n%{http_code}", URL + path)  # fmt: skip
    body, _, status = answer.decode().rpartition("\n")
    return int(status), json.loads(body)


def token(client, *options, cert=None, **fields):
    fields = {"grant_type": "client_credentials", "client_id": CLIENTS[client], **fields}
    form = [part for name, value in fields.items() for part in ("--data-urlencode", f"{name}={value}")]
    return curl("/v1/oauth/token", *form, *options, cert=cert, method="POST")


def assertion(name):
    claims = {"iss": CLIENTS[name], "sub": CLIENTS[name], "aud": URL, "jti": str(uuid.uuid4())}
    claims |= {"iat": int(time.time()), "exp": int(time.time()) + 60}
    kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    jwt = signed(name, {"alg": "ES256", "typ": "JWT", "kid": "b"}, claims)
    return {"client_assertion_type": kind, "client_assertion": jwt}


def proof(name, method, path, access=None, at=0):
    claims = {"htm": method, "htu": URL + path, "iat": int(time.time()) + at, "jti": str(uuid.uuid4())}
    if access:
        claims["ath"] = b64(hashlib.sha256(access.encode()).digest())
    return signed(name, {"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk(name)}, claims)


def header(name, value):
    return "--header", f"{name}: {value}"


def inside(jwt):
    return json.loads(base64.urlsafe_b64decode(jwt.split(".")[1] + "=="))


def expect(what, found, *wanted):
    assert found == wanted, f"{what}: {found}, not {wanted}"
    print(f"{what}: {' '.join(map(str, found))}")


def check():
    path = "/v1/accounts"

    def read(what, *wanted, access=None, scheme="Bearer", options=(), cert=None, language="en"):
        shown = header("Authorization", f"{scheme} {access}") if access else ()
        status, body = curl(path, *shown, *options, *header("Accept-Language", language), cert=cert)
        expect(what, (status, body.get("code")), *wanted)
        return body

    # A certificate (RFC 8705).
    status, answer = token("a", cert="a")
    expect("a token by certificate", (status, answer["token_type"]), 200, "Bearer")
    first = answer["access_token"]
    expect("it names the certificate", (inside(first)["cnf"],), {"x5t#S256": thumbprint("a")})
    read("over its certificate", 200, None, access=first, cert="a")
    body = read("over no certificate", 401, "binding_required", access=first, language="es")
    assert "certificado" in body["detail"] and "RFC 8705" in body["remedy"], body
    read("over another tenant's certificate", 401, "binding_required", access=first, cert="c")
    read("over a certificate that has ended", 401, "binding_required", access=first, cert="d")
    read("as a token of a key", 401, "binding_required", access=first, scheme="DPoP", cert="a")
    read("no token", 401, "unauthenticated", cert="a")
    for what, client, cert in (
        ("for another tenant's client", "c", "a"),
        ("by no certificate", "a", None),
        ("by a certificate that has ended", "d", "d"),
    ):
        status, answer = token(client, cert=cert)
        expect(f"a token {what}", (status, answer["error"]), 401, "invalid_client")
    status, answer = token("a", cert="a", client_secret="secret")
    expect("a token by a secret", (status, answer["error"]), 401, "invalid_client")
    assert "secret" in answer["error_description"], answer

    # A key (RFC 9449).
    status, answer = token("b", **assertion("b"))
    expect("a token without a proof", (status, answer["error"]), 400, "invalid_dpop_proof")
    at_issuer = header("DPoP", proof("b", "POST", "/v1/oauth/token"))
    status, answer = token("b", *at_issuer, **assertion("b"))
    expect("a token with a proof", (status, answer["token_type"]), 200, "DPoP")
    access = answer["access_token"]
    canonical = json.dumps(jwk("b"), separators=(",", ":"), sort_keys=True)
    expect("it names the key", (inside(access)["cnf"]["jkt"],), b64(hashlib.sha256(canonical.encode()).digest()))
    status, answer = token("b", *at_issuer, **assertion("b"))
    expect("a token with a used proof", (status, answer["error"]), 400, "invalid_dpop_proof")

    def proved(what, *wanted, **how):
        made = proof(**{"name": "b", "method": "GET", "path": path, "access": access, **how})
        read(what, *wanted, access=access, scheme="DPoP", options=header("DPoP", made))
        return made

    used = proved("with a proof", 200, None)
    again = header("DPoP", used)
    read("with a used proof", 401, "unauthenticated", access=access, scheme="DPoP", options=again)
    read("without a proof", 401, "binding_required", access=access, scheme="DPoP")
    read("as a bearer's", 401, "binding_required", access=access)
    proved("with a proof for another method", 401, "unauthenticated", method="POST")
    proved("with a proof for another path", 401, "unauthenticated", path="/v1/parties")
    proved("with a proof for another token", 401, "unauthenticated", access=first)
    proved("with a proof for no token", 401, "unauthenticated", access=None)
    proved("with a proof by another key", 401, "unauthenticated", name="c")
    proved("with a proof of an hour ago", 401, "unauthenticated", at=-3600)
    proved("with a proof from the future", 401, "unauthenticated", at=3600)
    proved("with a proof by a clock that is a little fast", 200, None, at=30)
    shown = (*header("Authorization", f"DPoP {access}"), *header("DPoP", proof("b", "GET", path, access)))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        statuses = sorted(status for status, _ in pool.map(lambda _: curl(path, *shown), range(8)))
    expect("eight at once with one proof", tuple(statuses), 200, *[401] * 7)


if sys.argv[1] == "prepare":
    prepare()
else:
    URL = sys.argv[3]
    check()
