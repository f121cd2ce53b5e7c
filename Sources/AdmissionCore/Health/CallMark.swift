// Identifies the call that a failure is counted for. All attempts of one request count as one failure, together with
// the repeats that the client's SDK sends, so that no single call can take a key or a provider from the others.

struct CallMark: Sendable {
  var request: RequestID
  /// A hash of tenant, session, model and size: the same for a call and its repeats.
  var content: UInt64
  /// A hash of tenant, client key and session: the same for all calls of one client.
  var client: UInt64
  /// True where the client's SDK says that it has sent this call before.
  var isRepeat: Bool

  func isSame(as other: CallMark) -> Bool {
    request == other.request || (isRepeat || other.isRepeat) && content == other.content
  }
}

/// The calls that have failed in a row, each once. Remembers the last 64.
struct CallMarks: Sendable {
  private var marks: [CallMark] = []
  static let most = 64

  /// Returns true where this call had not failed before.
  mutating func insert(_ mark: CallMark) -> Bool {
    guard !marks.contains(where: { mark.isSame(as: $0) }) else { return false }
    if marks.count >= Self.most { marks.removeFirst() }
    marks.append(mark)
    return true
  }

  mutating func removeAll() {
    if !marks.isEmpty { marks.removeAll() }
  }
}

extension Request {
  var mark: CallMark {
    let box = self.box
    var content = sessionHash &* 0x9E37_79B9_7F4A_7C15
    content ^= KeyPool.hash(box.ticket.model) &* 0xC2B2_AE3D_27D4_EB4F
    content ^= UInt64(truncatingIfNeeded: box.ticket.keptBytes) &* 0x1656_67B1_9E37_79F9
    content ^= UInt64(truncatingIfNeeded: tenant.number) << 1
    var client = sessionHash &* 0x9E37_79B9_7F4A_7C15
    client ^= UInt64(truncatingIfNeeded: tenant.number) << 1
    if let key = box.ticket.clientKey { client ^= KeyPool.hash(key.name) &* 0xC2B2_AE3D_27D4_EB4F }
    return CallMark(
      request: box.ticket.id, content: content, client: client, isRepeat: box.ticket.clientRetryCount > 0)
  }
}
