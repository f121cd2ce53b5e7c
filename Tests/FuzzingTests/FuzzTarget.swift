// What is fuzzed: for each reader of what strangers send, one function from bytes to what is wrong, if anything is. LibFuzzer calls it
// with what it makes up (scripts/fuzz), CorpusTests with the committed corpora.

enum FuzzTarget: String, CaseIterable {
  /// HTTP1Codec: what clients send, and what providers answer.
  case http1
  /// ProviderWire's walk over JSON, and the facts of requests.
  case json
  /// ProviderWire's scanner of server-sent events.
  case events
  /// ProviderWire's reading of rate-limit fields.
  case limits
  /// LedgerStore's reading of journals.
  case journal

  /// What the reader got wrong; nil where all is well. It may also trap: that is a finding too.
  func flaw(in bytes: [UInt8]) -> String? {
    switch self {
    case .http1: HTTP1Reading.flaw(in: bytes)
    case .json: JSONReading.flaw(in: bytes)
    case .events: EventsReading.flaw(in: bytes)
    case .limits: LimitsReading.flaw(in: bytes)
    case .journal: JournalFileReading.flaw(in: bytes)
    }
  }
}

/// The ways in which bytes are cut into pieces for readers whose result must not depend on it.
enum Cuts {
  /// In one piece, in two at each place (at some sixty of them, where there are more), and at every place at once.
  static func all(_ bytes: [UInt8]) -> [[ArraySlice<UInt8>]] {
    let step = max(1, bytes.count / 64)
    let twice = stride(from: 1, to: bytes.count, by: step).map { [bytes[..<$0], bytes[$0...]] }
    return [[bytes[...]]] + twice + [bytes.indices.map { bytes[$0...$0] }]
  }

  /// What differs from the reading in one piece, if anything does.
  static func difference<Reading: Equatable>(
    _ bytes: [UInt8], _ read: ([ArraySlice<UInt8>]) -> Reading
  ) -> String? {
    let whole = read([bytes[...]])
    for pieces in all(bytes) {
      let found = read(pieces)
      if found != whole { return "cut into \(pieces.map(\.count)): \(found), in one piece: \(whole)" }
    }
    return nil
  }
}
