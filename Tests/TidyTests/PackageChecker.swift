// Holds Package.swift to the sources: a target declares what SwiftRules lets it import, no more and no less, and imports
// all that it declares; a target of tests declares what it imports. The compiler does not look: a module that another
// target has built is found without a declaration, or not, in another order of building.
import Foundation

struct PackageChecker {
  /// What each target declares that it depends on, as the names of modules.
  let declared: [String: Set<String>]

  /// - Parameter manifest: the text of Package.swift, whose targets are calls of `library`, `.executableTarget` or
  ///   `tests`; the last make targets with `Tests` behind their names.
  init(manifest: String) {
    // The shape of our own manifest; a target that this does not read has no dependencies here, which is then found.
    let target =
      /(?:library\(\s*|(tests)\(\s*|\.executableTarget\(\s*name:\s*)"([A-Za-z0-9-]+)"(?:,\s*dependencies:)?(?:,?\s*\[([^\]]*)\])?/
    let dependency = /\.product\(name:\s*"(\w+)",\s*package:\s*"[^"]+"\)|"(\w+)"|\b(deque|heap)\b/
    var declared: [String: Set<String>] = [:]
    for match in manifest.matches(of: target) {
      let list = match.output.3 ?? ""
      declared[String(match.output.2) + (match.output.1 == nil ? "" : "Tests")] = Set(
        list.matches(of: dependency).map { found in
          switch found.output.3 {
          case "deque"?: "DequeModule"
          case "heap"?: "HeapModule"
          default: String(found.output.1 ?? found.output.2 ?? "")
          }
        })
    }
    self.declared = declared
  }

  /// - Parameters:
  ///   - allowed: what each target may import.
  ///   - imported: what each target does import.
  func findings(allowed: [String: Set<String>], imported: [String: Set<String>]) -> [Finding] {
    func finding(_ message: String) -> Finding { Finding(path: "Package.swift", line: 1, message: message) }
    var findings: [Finding] = []
    for (target, allowed) in allowed.sorted(by: { $0.key < $1.key }) {
      guard let declared = declared[target] else {
        findings.append(finding("\(target) is not declared here"))
        continue
      }
      let imported = imported[target] ?? []
      let own = allowed.subtracting(SwiftRules.platform).subtracting(["Foundation"])
      for name in own.subtracting(declared).sorted() {
        findings.append(finding("\(target) may import \(name) (SwiftRules.imports) and does not declare it"))
      }
      for name in declared.subtracting(own).sorted() {
        findings.append(finding("\(target) declares \(name), which it may not import (SwiftRules.imports)"))
      }
      for name in declared.subtracting(imported).sorted() {
        findings.append(finding("\(target) declares \(name), which none of its files imports"))
      }
    }
    return findings
  }

  /// - Parameter imported: what each target of tests imports.
  func findings(ofTests imported: [String: Set<String>]) -> [Finding] {
    // Those of the compiler are in no declaration.
    let modules = Set(declared.keys).union(declared.values.joined())
    return imported.sorted { $0.key < $1.key }.flatMap { target, imported in
      let (declared, imported) = (declared[target] ?? [], imported.intersection(modules))
      return imported.subtracting(declared).sorted().map { "\(target) imports \($0) and does not declare it" }
        + declared.subtracting(imported).sorted().map { "\(target) declares \($0), which none of its files imports" }
    }.map { Finding(path: "Package.swift", line: 1, message: $0) }
  }
}
