// `tollgate tenant-key`: makes a client key. It is printed once and stored nowhere.
import ArgumentParser
import Foundation
import HTTPEndpoint
import ProcessOutput

struct TenantKeyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tenant-key", abstract: "Make a client key for a tenant, with the hash for the policy.",
    discussion: """
      The key is shown once and stored nowhere: give it to the tenant, and put the hash under the tenant's keys:
        tenants:
          - id: TENANT
            keys: ["sha256:..."]
      """)

  @Argument(help: "The tenant's id in the policy.") var tenant: String

  func validate() throws {
    guard !tenant.isEmpty, tenant != "*", tenant.utf8.count <= 64 else {
      throw ValidationError("TENANT: give the id of one tenant, at most 64 bytes")
    }
  }

  func run() throws {
    var generator = SystemRandomNumberGenerator()
    let random = (0..<32).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
    let text = Data(random).base64EncodedString()
      .replacingOccurrences(of: "+", with: "-").replacingOccurrences(of: "/", with: "_")
      .replacingOccurrences(of: "=", with: "")
    let key = "tg-" + text
    let hash = Digest.sha256(Array(key.utf8)).map { byte in
      let hex = String(byte, radix: 16)
      return hex.count == 1 ? "0" + hex : hex
    }.joined()
    Terminal.line("key:   \(key)")
    Terminal.line("hash:  sha256:\(hash)")
    Terminal.error(
      """

      The key is shown only now. In the policy:
        tenants:
          - {id: \(tenant), keys: ["sha256:\(hash)"]}
      """)
  }
}
