"""Certificates of our own for loopback, for tests that speak TLS."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def make_certificate(folder, name="tollgate test"):
    """Paths of a self-signed certificate for 127.0.0.1 and of its key; the certificate is its own authority."""
    made = make_signed(folder, name, is_authority=True, file="cert")
    return made.certificate, made.key


class Signed:
    """A certificate and its key as files, and what it takes to sign others with it."""

    def __init__(self, folder, file, subject, secret, made):
        self.subject, self.secret = subject, secret
        self.certificate, self.key = folder / f"{file}.pem", folder / f"{file}.key"
        self.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        self.key.write_bytes(secret.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def make_signed(folder, name, issuer=None, names=("127.0.0.1",), days=(-1, 1), is_authority=False, file=None):
    """A certificate signed by `issuer`, or by itself, for these addresses and names, valid from and to so many days from now."""
    secret = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    entries = [x509.IPAddress(ipaddress.ip_address(entry)) if entry[0].isdigit() else x509.DNSName(entry) for entry in names]
    made = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer.subject if issuer else subject)
            .public_key(secret.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=days[0])).not_valid_after(now + datetime.timedelta(days=days[1]))
            .add_extension(x509.SubjectAlternativeName(entries), False)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), True)
            .sign(issuer.secret if issuer else secret, hashes.SHA256()))
    return Signed(folder, file or name, subject, secret, made)
