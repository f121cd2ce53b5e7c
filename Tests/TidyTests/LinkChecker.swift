// Checks that the relative links of the documentation lead somewhere.

struct LinkChecker {
  let file: ProjectFile
  /// Every file and folder of the project, by its path from the project's folder.
  let paths: Set<String>

  func findings() -> [Finding] {
    guard file.path.hasSuffix(".md") else { return [] }
    var findings: [Finding] = []
    var inCode = false
    for (index, line) in file.lines.enumerated() {
      if line.hasPrefix("```") { inCode.toggle() }
      if inCode { continue }
      for target in LinkChecker.targets(in: line) where !paths.contains(resolve(target)) {
        findings.append(Finding(path: file.path, line: index + 1, message: "the link to \(target) leads nowhere"))
      }
    }
    return findings
  }

  /// What stands in `](…)`, without fragments and without links to other hosts.
  static func targets(in line: Substring) -> [String] {
    var targets: [String] = []
    var rest = line
    while let opening = rest.firstRange(of: "](") {
      rest = rest[opening.upperBound...]
      guard let end = rest.firstIndex(of: ")") else { break }
      let target = rest[..<end].split(separator: "#", omittingEmptySubsequences: false).first ?? ""
      if !target.isEmpty && !target.contains("://") && !target.hasPrefix("mailto:") { targets.append(String(target)) }
      rest = rest[end...]
    }
    return targets
  }

  private func resolve(_ target: String) -> String {
    var parts = file.path.split(separator: "/").dropLast().map(String.init)
    for part in target.split(separator: "/") {
      switch part {
      case ".": continue
      case "..": if !parts.isEmpty { parts.removeLast() }
      default: parts.append(String(part))
      }
    }
    return parts.joined(separator: "/")
  }
}
