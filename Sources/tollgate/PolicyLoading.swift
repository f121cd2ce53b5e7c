// Loads a policy file: the checked policy, its prices, and the secrets of its keys.
import BrokerEngine
import Foundation
import PolicyFile
import Pricing

/// The secrets of webhooks, by their URLs.
typealias WebhookSecrets = [String: Secret]

/// What a policy's sources of secrets gave.
struct ReadSecrets: Sendable {
  var keys: KeySecrets
  var webhooks: WebhookSecrets
}

enum PolicyLoading {
  /// Reads and checks a file; throws all mistakes as one text.
  static func policy(at path: String) throws -> Policy {
    let parsing = PolicyParser.parse(
      text: try text(of: path), file: path, environment: ProcessInfo.processInfo.environment,
      knowsTimeZone: BudgetCalendar.knows)
    guard let policy = parsing.policy, parsing.diagnostics.isEmpty else {
      throw CommandRefusal(parsing.diagnostics.map(\.description).joined(separator: "\n"))
    }
    return policy
  }

  static func text(of path: String) throws -> String {
    guard !path.isEmpty else { throw CommandRefusal("tollgate: the path of a file is empty") }
    guard let data = FileManager.default.contents(atPath: path) else {
      throw CommandRefusal("\(path): error: the file cannot be read; does it exist, and may you read it?")
    }
    guard let text = String(data: data, encoding: .utf8) else {
      throw CommandRefusal("\(path): error: the file is not UTF-8 text")
    }
    return text
  }

  /// The policy for `serve` without a file.
  static func builtIn() throws -> Policy {
    let policy = Policy.builtIn(environment: ProcessInfo.processInfo.environment)
    guard !policy.providers.isEmpty else {
      throw CommandRefusal(
        """
        tollgate: there is no provider to serve. Set one of
          \(Policy.builtInVariables.joined(separator: "\n  "))
        or give a policy: tollgate serve --policy FILE. To see it work without a key: tollgate demo
        """)
    }
    return policy
  }

  /// The prices that a policy names, or the built-in ones. Throws all mistakes of the file as one text.
  static func prices(of policy: Policy, relativeTo file: String?) throws -> PriceBook {
    guard let path = policy.prices else { return PriceBook(.builtIn) }
    return PriceBook(try priceList(at: resolved(path, relativeTo: file)))
  }

  static func priceList(at path: String) throws -> PriceList {
    let parsing = PriceListParser.parse(
      text: try text(of: path), file: path, environment: ProcessInfo.processInfo.environment)
    guard let prices = parsing.prices, parsing.diagnostics.isEmpty else {
      throw CommandRefusal(parsing.diagnostics.map(\.description).joined(separator: "\n"))
    }
    return prices
  }

  /// The secrets of all keys and webhooks.
  static func allSecrets(of policy: Policy, relativeTo file: String?) throws -> ReadSecrets {
    ReadSecrets(
      keys: try secrets(of: policy, relativeTo: file), webhooks: try webhookSecrets(of: policy, relativeTo: file))
  }

  /// The secrets of all webhooks, by their URLs.
  static func webhookSecrets(of policy: Policy, relativeTo file: String?) throws -> WebhookSecrets {
    var secrets: WebhookSecrets = [:]
    for webhook in policy.webhooks {
      guard let source = webhook.secret else { continue }
      let name = "webhook \(webhook.shownURL)"
      let secret = try read(source, of: name, relativeTo: file)
      guard !secret.revealed.isEmpty else { throw CommandRefusal("\(name): the secret is empty") }
      secrets[webhook.url] = secret
    }
    return secrets
  }

  /// The secrets of all keys, from the text, a file or a command. Paths are taken relative to the policy file.
  static func secrets(of policy: Policy, relativeTo file: String?) throws -> KeySecrets {
    var secrets = KeySecrets()
    for provider in policy.providers {
      for key in provider.keys {
        let name = "key \(provider.id)/\(key.id)"
        let secret = try read(key.source, of: name, relativeTo: file)
        guard isSendable(secret.revealed) else {
          throw CommandRefusal("\(name): the secret is empty or holds characters that a header field cannot carry")
        }
        secrets.set(secret, provider: provider.id, key: key.id)
      }
    }
    return secrets
  }

  /// - Parameter name: whose secret it is, for the error.
  private static func read(_ source: ProviderKey.Source, of name: String, relativeTo file: String?) throws -> Secret {
    switch source {
    case .text(let text): return text
    case .file(let path):
      let path = resolved(path, relativeTo: file)
      guard let data = FileManager.default.contents(atPath: path), let text = String(data: data, encoding: .utf8)
      else { throw CommandRefusal("\(name): the secret's file \(path) cannot be read") }
      return Secret(trimmed(text))
    case .command(let words): return Secret(trimmed(try output(of: words, for: name)))
    }
  }

  static func resolved(_ path: String, relativeTo file: String?) -> String {
    guard !path.hasPrefix("/"), let file else { return path }
    return URL(fileURLWithPath: file).deletingLastPathComponent().appendingPathComponent(path).path
  }

  private static func trimmed(_ text: String) -> String { text.trimmingCharacters(in: .whitespacesAndNewlines) }

  /// Only visible ASCII is allowed, which every server accepts in a field value.
  private static func isSendable(_ text: String) -> Bool {
    !text.isEmpty && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }
  }

  /// Runs a command that prints a secret; at most ten seconds.
  private static func output(of words: [String], for name: String) throws -> String {
    guard let program = words.first else { throw CommandRefusal("\(name): the command is empty") }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = words
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardInput = FileHandle.nullDevice
    do { try process.run() } catch {
      throw CommandRefusal("\(name): the command '\(program)' cannot be started: \(error)")
    }
    let data = read(pipe.fileHandleForReading.fileDescriptor, until: Date().addingTimeInterval(10))
    if data == nil { kill(process.processIdentifier, SIGKILL) }
    process.waitUntilExit()
    guard let data else { throw CommandRefusal("\(name): the command '\(program)' took longer than ten seconds") }
    guard process.terminationStatus == 0, process.terminationReason == .exit else {
      throw CommandRefusal("\(name): the command '\(program)' failed with status \(process.terminationStatus)")
    }
    return String(decoding: data, as: UTF8.self)
  }

  /// The bytes of a descriptor up to its end, at most 64 KiB; nil where the end does not come in time.
  private static func read(_ descriptor: Int32, until deadline: Date) -> Data? {
    var data = Data()
    var chunk = [UInt8](repeating: 0, count: 4096)
    while data.count < 64 << 10 {
      var ready = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      let wait = Int32(max(0, deadline.timeIntervalSinceNow * 1000))
      guard poll(&ready, 1, wait) == 1 else { return nil }
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      guard count > 0 else { break }
      data.append(contentsOf: chunk[..<count])
    }
    return data
  }
}
