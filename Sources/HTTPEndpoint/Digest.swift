// OpenSSL's digests, for targets that may not import the library.
import COpenSSL

public enum Digest {
  /// SHA-256 of `bytes`: 32 bytes (FIPS 180-4).
  public static func sha256(_ bytes: [UInt8]) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: 32)
    _ = SHA256(bytes, bytes.count, &digest)
    return digest
  }
}
