// `tollgate env`: what a client must export so that it calls the broker, or the same written into its own settings file.
import ArgumentParser
import Foundation
import PolicyFile
import ProcessOutput
import TextForms

struct EnvCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "env", abstract: "Print what a client must export to call the broker, or write it into its settings.",
    discussion: """
      Clients: \(ClientSetup.all(at: "").map(\.name).joined(separator: ", ")).

      Examples:
        eval "$(tollgate env aider)"            for this shell
        tollgate env claude-code --write        into ~/.claude/settings.json; the old file is kept beside it
        tollgate env codex --write              into ~/.codex/config.toml
        tollgate env openai --url http://broker.internal:4141

      The key it prints stands for a client key: without tenants: in the policy any text will do; with them, put your own
      there ('tollgate tenant-key TENANT' makes one). A key that the settings hold already stays.
      """)

  @Argument(help: "The client, such as claude-code, codex, openai, anthropic.") var client: String

  @Option(
    help:
      "The broker's address for clients, without a path. Default: the first listener of the policy, else http://127.0.0.1:4141."
  )
  var url: String?

  @Option(help: "The policy whose listener is meant.", completion: .file()) var policy: String?

  @Flag(
    help:
      "Merge it into the client's own settings file (claude-code, codex); nothing happens where it is there already.")
  var write = false

  @Flag(help: "Print it as JSON.") var json = false

  func run() throws {
    let address = try base()
    let all = ClientSetup.all(at: address)
    guard let setup = all.first(where: { $0.name == client.lowercased() }) else {
      let names = all.map(\.name)
      let meant = Spelling.nearest(to: client.lowercased(), among: names).map { " Did you mean '\($0)'?" } ?? ""
      throw ValidationError(
        "'\(PrintableText.escaped(String(client.prefix(60))))' is no client that is known.\(meant) Known: \(names.joined(separator: ", "))"
      )
    }
    guard write else { return show(setup, address: address) }
    guard let file = setup.file else {
      throw CommandRefusal(
        "tollgate: \(setup.name) has no settings file of its own; export what 'tollgate env \(setup.name)' prints")
    }
    try write(file, setup, address: address)
  }

  /// What `--url` says, or where the policy listens.
  private func base() throws -> String {
    if let url {
      var text = Substring(url)
      while text.hasSuffix("/") { text.removeLast() }
      guard let parts = URLComponents(string: String(text)), let scheme = parts.scheme,
        ["http", "https"].contains(scheme),
        parts.host?.isEmpty == false, parts.path.isEmpty, parts.query == nil, parts.user == nil,
        !text.contains(where: { "\"'\\ $`".contains($0) })
      else {
        throw ValidationError(
          "--url: '\(url)' is no address of a broker; give http://HOST:PORT or https://HOST:PORT, without a path")
      }
      return String(text)
    }
    guard let policy else { return "http://127.0.0.1:4141" }
    let read = try PolicyLoading.policy(at: policy)
    for case .tcp(let host, let port) in read.listen where port != 0 {
      let reached = host == "0.0.0.0" ? "127.0.0.1" : host == "::" ? "::1" : host
      return (read.tls == nil ? "http://" : "https://") + (reached.contains(":") ? "[\(reached)]" : reached)
        + ":\(port)"
    }
    throw CommandRefusal("tollgate: \(policy) has no listener with a port; give the address with --url")
  }

  private func show(_ setup: ClientSetup, address: String) {
    if json {
      var writer = JSONWriter()
      writer.object { object in
        object.member("client", setup.name)
        object.member("url", address)
        object.key("variables")
        object.object { variables in
          for variable in setup.variables {
            variables.key(named: variable.name)
            variables.value(variable.value)
          }
        }
        object.member("file", setup.file.map { EnvCommand.path(of: $0) })
        object.key("notes")
        object.array(setup.notes) { $0.value($1) }
      }
      return Terminal.line(String(decoding: writer.bytes, as: UTF8.self))
    }
    for note in setup.notes { Terminal.line("# \(note)") }
    // A shell may take all of what is printed: what belongs into a file is a comment.
    for line in setup.lines { Terminal.line(line.isEmpty ? "#" : "#   \(line)") }
    for variable in setup.variables { Terminal.line("export \(variable.name)=\(variable.value)") }
  }

  /// The client's settings file: in the folder that its own variable names, else in the user's home.
  private static func path(of file: ClientSetup.File) -> String {
    let environment = ProcessInfo.processInfo.environment
    let home = environment["HOME"] ?? NSHomeDirectory()
    func folder(_ variable: String, _ usual: String) -> String {
      environment[variable].flatMap { $0.isEmpty ? nil : $0 } ?? home + "/" + usual
    }
    switch file {
    case .claudeCode: return folder("CLAUDE_CONFIG_DIR", ".claude") + "/settings.json"
    case .codex: return folder("CODEX_HOME", ".codex") + "/config.toml"
    }
  }

  private func write(_ file: ClientSetup.File, _ setup: ClientSetup, address: String) throws {
    let named = EnvCommand.path(of: file)
    // A settings file may be a link into a repository of such files: the link stays.
    let path = URL(fileURLWithPath: named).resolvingSymlinksInPath().path
    let manager = FileManager.default
    let exists = manager.fileExists(atPath: path)
    let old = exists ? try PolicyLoading.text(of: path) : ""
    let new: String
    do {
      new = try ClientSetup.merged(file, setup.variables, url: address, into: old)
    } catch {
      throw CommandRefusal(
        "\(named):\(error.line):\(error.column): error: \(error.message); nothing has been changed")
    }
    var kept: String?
    if new != old {
      do {
        try manager.createDirectory(
          atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
        if exists { kept = try keep(path) }
        let mode = exists ? try manager.attributesOfItem(atPath: path)[.posixPermissions] : nil
        try Data(new.utf8).write(to: URL(fileURLWithPath: path), options: .atomic)
        try manager.setAttributes([.posixPermissions: mode ?? 0o600], ofItemAtPath: path)
      } catch {
        throw CommandRefusal("tollgate: \(named) cannot be written: \(error.localizedDescription)")
      }
    }
    if json {
      var writer = JSONWriter()
      writer.object { object in
        object.member("client", setup.name)
        object.member("url", address)
        object.member("file", named)
        object.key("changed")
        object.value(new != old)
        object.member("kept", kept)
      }
      return Terminal.line(String(decoding: writer.bytes, as: UTF8.self))
    }
    Terminal.line(new == old ? "\(named) says so already" : "\(named) now names \(address)")
    if let kept { Terminal.line("the old one is \(kept)") }
    if file == .codex {
      Terminal.line("Codex reads its key from TOLLGATE_CLIENT_KEY: export TOLLGATE_CLIENT_KEY=\(ClientSetup.anyKey)")
    }
  }

  /// A copy beside the file, under a name that is free.
  private func keep(_ path: String) throws -> String {
    let manager = FileManager.default
    var copy = path + ".before-tollgate"
    var number = 2
    while manager.fileExists(atPath: copy) {
      copy = path + ".before-tollgate-\(number)"
      number += 1
    }
    try manager.copyItem(atPath: path, toPath: copy)
    return copy
  }
}
