// Sessions for clients that name none: each connection is one, so that ten programs are not one session that waits for
// itself.
//
// Promises: a caller (tenant, client key or credential, user agent) has at most eight sessions, whatever the number of
// its connections, so that a pool of fifty connections is not fifty sessions; further connections join those with the
// fewest. All eight are one group: they count together where a session's calls are counted, and they use the same keys,
// for the sake of the provider's prompt cache. Names are the same after a restart. Nothing is kept of a caller that has
// no connection; no credential is part of a name.
import AdmissionCore
import HTTPMessage
import TextForms

final class NamelessSessions {
  /// The most sessions of one caller.
  static let most = 8

  /// One program, as far as it can be told from others.
  final class Caller {
    let identity: Identity
    /// The name of all its sessions together.
    let group: String
    fileprivate var connections: [Int]

    fileprivate init(_ identity: Identity, group: String) {
      self.identity = identity
      self.group = group
      connections = Array(repeating: 0, count: NamelessSessions.most)
    }
  }

  struct Identity: Hashable {
    var tenant: String
    /// The client key's id where there is one, else the credential itself; it stays in memory.
    var credential: String
    var userAgent: String
  }

  /// The session of one connection; it is given up with the connection.
  final class Place {
    let caller: Caller
    let session: String
    private let number: Int
    private let sessions: NamelessSessions

    fileprivate init(_ caller: Caller, _ number: Int, of sessions: NamelessSessions) {
      self.caller = caller
      self.number = number
      self.sessions = sessions
      session = "\(caller.group)/\(number + 1)"
      caller.connections[number] += 1
    }

    deinit {
      caller.connections[number] -= 1
      if caller.connections.allSatisfy({ $0 == 0 }) { sessions.callers[caller.identity] = nil }
    }
  }

  private var callers: [Identity: Caller] = [:]
  private let hash: ([UInt8]) -> [UInt8]

  /// - Parameter hash: SHA-256.
  init(hash: @escaping ([UInt8]) -> [UInt8]) { self.hash = hash }

  /// The number of callers that have a connection.
  var count: Int { callers.count }

  /// The session of the connection on which a request came that names none.
  func place(of downstream: any HTTPExchange, _ identity: Identity) -> Place {
    if let place = downstream.connectionContext as? Place, place.caller.identity == identity { return place }
    let caller = callers[identity] ?? Caller(identity, group: name(identity))
    callers[identity] = caller
    let fewest = caller.connections.min() ?? 0
    let place = Place(caller, caller.connections.firstIndex(of: fewest) ?? 0, of: self)
    // The place before it, of another caller that shares the connection, is given up.
    downstream.connectionContext = place
    return place
  }

  /// The program's name as its user agent gives it, and three bytes of a hash that tell its credentials apart.
  private func name(_ identity: Identity) -> String {
    let word = identity.userAgent.utf8.prefix { $0 > 0x20 && $0 != UInt8(ascii: "(") }
    var program = ""
    for byte in word.prefix(40) {
      let isPlain =
        (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7A) || (byte >= 0x30 && byte <= 0x39) || byte == 0x2E || byte == 0x5F
      program.unicodeScalars.append(isPlain ? Unicode.Scalar(byte) : "-")
    }
    let text = "\(identity.tenant)\n\(identity.credential)\n\(identity.userAgent)"
    return "\(program.isEmpty ? "client" : program)~\(Hexadecimal.text(hash(Array(text.utf8)).prefix(3)))"
  }
}

extension SessionID {
  /// The session to whose account a call of this session belongs: all sessions of a client that names none have one
  /// account together, so that more connections do not mean a larger budget.
  public var account: SessionID {
    let bytes = name.utf8
    guard bytes.count >= 9, let number = bytes.last, number >= 0x31, number < 0x31 + UInt8(NamelessSessions.most) else {
      return self
    }
    let mark = bytes.suffix(9)
    let isNameless =
      mark.first == UInt8(ascii: "~") && mark.dropLast().last == UInt8(ascii: "/")
      && mark.dropFirst().prefix(6).allSatisfy { ($0 >= 0x30 && $0 <= 0x39) || ($0 >= 0x61 && $0 <= 0x66) }
    return isNameless ? SessionID(String(name.dropLast(2))) : self
  }
}
