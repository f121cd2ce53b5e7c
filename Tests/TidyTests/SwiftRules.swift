// The rules for Swift sources: which target may import what, and which words are banned where (docs/internals/architecture.md).
// Every rule names what to use instead; a rule that can be lifted by a reason wants the comment on the line or right above it.

enum SwiftRules {
  /// What each target may import. Adapters never import one another; the pure targets see neither platform nor Foundation.
  static let imports: [String: Set<String>] = [
    "AdmissionCore": ["DequeModule", "HeapModule"],
    "TextForms": [],
    "HTTPMessage": [],
    "HTTP1Codec": ["HTTPMessage", "TextForms"],
    "Pricing": ["AdmissionCore", "TextForms"],
    "LedgerVocabulary": ["AdmissionCore", "Pricing", "TextForms"],
    "PolicyFile": ["AdmissionCore", "Pricing", "TextForms", "Yams"],
    "Courier": ["HTTPMessage", "PolicyFile", "TextForms"],
    "Telemetry": ["HTTPMessage", "TextForms"],
    "ProviderWire": ["AdmissionCore", "HTTPMessage", "Pricing", "TextForms", "CSimdjson", "CZlib", "CZstd"],
    "TerminalScreen": ["TextForms"],
    "SharedState": platform,
    "EventLoop": platform.union(["SharedState", "CUV"]),
    "ProcessOutput": platform.union(["SharedState", "Foundation"]),
    "HTTPEndpoint": platform.union(["EventLoop", "HTTP1Codec", "HTTPMessage", "TextForms", "CNghttp2", "COpenSSL"]),
    "UpstreamHTTP": platform.union(["EventLoop", "HTTP1Codec", "HTTPMessage", "CCurl", "CNghttp2", "COpenSSL"]),
    "BrokerEngine": platform.union([
      "AdmissionCore", "LedgerVocabulary", "PolicyFile", "Pricing", "ProviderWire", "HTTPMessage", "Telemetry",
      "TextForms", "EventLoop", "DequeModule",
    ]),
    "LedgerStore": platform.union([
      "AdmissionCore", "LedgerVocabulary", "Pricing", "SharedState", "TextForms", "DequeModule", "GRDB", "GRDBSQLite",
      "Foundation",
    ]),
    "AdminConsole": platform.union([
      "BrokerEngine", "LedgerStore", "LedgerVocabulary", "AdmissionCore", "PolicyFile", "HTTPMessage", "TextForms",
      "EventLoop", "Courier",
    ]),
    "ProviderSimulator": platform.union([
      "HTTPEndpoint", "HTTPMessage", "TextForms", "EventLoop", "CZlib", "HeapModule", "Foundation",
    ]),
    "FleetSimulator": platform.union(["AdmissionCore", "HTTPMessage", "EventLoop", "Foundation"]),
    "PolicyLab": ["AdmissionCore", "HeapModule"],
    "TollgateTesting": ["AdmissionCore", "PolicyLab"],
    "HTTPDoubles": ["HTTPMessage"],
    "tollgate": platform.union([
      "AdmissionCore", "TextForms", "Pricing", "LedgerVocabulary", "PolicyFile", "EventLoop", "HTTPMessage",
      "HTTPEndpoint", "UpstreamHTTP", "BrokerEngine", "LedgerStore", "AdminConsole", "Courier", "Telemetry",
      "ProviderSimulator", "FleetSimulator", "ProcessOutput", "SharedState",
      "PolicyLab", "TerminalScreen", "ArgumentParser", "Logging", "Foundation",
    ]),
    "tollgate-dev": platform.union([
      "AdmissionCore", "LedgerStore", "LedgerVocabulary", "PolicyLab", "ProcessOutput", "SharedState", "TextForms",
      "ArgumentParser", "Foundation",
    ]),
  ]
  /// What single files may import besides: the calendar of budgets needs the machine's time zone rules.
  static let importsOfFiles: [String: Set<String>] = ["Sources/BrokerEngine/BudgetCalendar.swift": ["Foundation"]]
  /// What comes with the compiler, and is not declared in Package.swift.
  static let platform: Set<String> = ["Glibc", "Darwin", "Musl", "Synchronization"]

  static let pureTargets: Set<String> = [
    "AdmissionCore", "TextForms", "HTTPMessage", "HTTP1Codec", "Pricing", "LedgerVocabulary", "PolicyFile",
    "ProviderWire", "TerminalScreen", "Courier", "Telemetry",
    "PolicyLab",
  ]
  /// The files that may hold pointers, each with the C libraries that it calls with them (`Glibc`: the system itself). A parser of what
  /// strangers send is none of them: it gets an array, or a Span.
  static let pointerFiles: [String: Set<String>] = [
    "Sources/EventLoop/DirectoryWatch.swift": ["CUV"],
    "Sources/EventLoop/EventLoop.swift": ["CUV"],
    "Sources/EventLoop/Handles.swift": ["CUV"],
    "Sources/HTTPEndpoint/FieldBlock.swift": ["CNghttp2"],
    "Sources/HTTPEndpoint/HTTP2Callbacks.swift": ["CNghttp2"],
    "Sources/HTTPEndpoint/HTTP2Session.swift": ["CNghttp2"],
    "Sources/HTTPEndpoint/Listener.swift": ["Glibc"],
    "Sources/HTTPEndpoint/Socket.swift": ["Glibc"],
    "Sources/HTTPEndpoint/TLSContext.swift": ["COpenSSL"],
    "Sources/ProviderSimulator/Gzip.swift": ["CZlib"],
    "Sources/ProviderWire/ByteSearch.swift": ["CSimdjson"],
    "Sources/ProviderWire/ContentDecoding.swift": ["CZlib", "CZstd"],
    "Sources/ProviderWire/JSONWalk.swift": ["CSimdjson"],
    "Sources/UpstreamHTTP/CurlShard.swift": ["CCurl"],
    "Sources/UpstreamHTTP/CurlTransfer.swift": ["CCurl"],
    "Sources/UpstreamHTTP/CurlUpstream.swift": ["CCurl"],
    "Sources/UpstreamHTTP/Destination.swift": ["CCurl"],
    "Sources/UpstreamHTTP/DialedConnection.swift": ["CCurl", "COpenSSL"],
    "Sources/UpstreamHTTP/DirectConnection.swift": ["CCurl", "Glibc"],
    "Sources/UpstreamHTTP/EasyHandle.swift": ["CCurl"],
    "Sources/UpstreamHTTP/HTTP2ClientCallbacks.swift": ["CNghttp2"],
    "Sources/UpstreamHTTP/HTTP2ClientSession.swift": ["CNghttp2"],
    "Sources/UpstreamHTTP/HTTP2RequestFields.swift": ["CNghttp2"],
    "Sources/UpstreamHTTP/RequestFieldList.swift": ["CCurl"],
  ]

  static let pointers: [Ban] = [
    Ban("Unsafe", .prefix, use: "a safe type, and leave pointers to the wrappers of the C libraries"),
    Ban("OpaquePointer", use: "a safe type, and leave pointers to the wrappers of the C libraries"),
    Ban("Unmanaged", use: "an ordinary reference"),
    Ban("withUnsafe", .prefix, use: "Span, or a method of the wrapper of the C library"),
    Ban("unsafeBitCast", use: "an initialiser that checks"),
    Ban("unsafeDowncast", use: "as?"),
    Ban("unowned(unsafe)", use: "weak, or a strong reference"),
  ]

  static let pure: [Ban] = [
    Ban("ContinuousClock", use: "the Instant that is handed in"),
    Ban("SuspendingClock", use: "the Instant that is handed in"),
    Ban("Date(", use: "the Instant that is handed in"),
    Ban(".random(", use: "a value that the shell drew"),
    Ban(".randomElement(", use: "a value that the shell drew"),
    Ban(".shuffled(", use: "a value that the shell drew"),
    Ban("SystemRandomNumberGenerator", use: "a value that the shell drew"),
    Ban("async", use: "an event and an action"),
    Ban("await", use: "an event and an action"),
    Ban("Task", use: "an event and an action"),
    Ban("actor", use: "a struct"),
    Ban("Mutex", use: "a value that one thread owns"),
    Ban("Guarded", use: "a value that one thread owns"),
    Ban("Atomic", use: "a value that one thread owns"),
    Ban("NSLock", use: "a value that one thread owns"),
    Ban("DispatchQueue", use: "an action that the shell carries out"),
    Ban("FileManager", use: "bytes that the shell read"),
    Ban("fopen", use: "bytes that the shell read"),
    Ban("getenv", use: "values that the shell read"),
    Ban("ProcessInfo", use: "values that the shell read"),
  ]

  /// Other ways to the standard streams than the one that neither traps nor waits: a closed, full or unread stream would
  /// end the process or hold up its loop. In every target but `ProcessOutput`.
  static let standardStreams: [Ban] = [
    "print(", "debugPrint(", "dump(", "puts(", "fputs(", "printf(", "fwrite(", "perror(", "FileHandle.standardOutput",
    "FileHandle.standardError", "Glibc.write(", "Darwin.write(",
  ].map { Ban($0, use: "a notice or the logger; in the commands Terminal, which writes by ProcessOutput") }

  /// Locks whose order ThreadSanitizer does not see: it would report what they guard as races. In every target but `SharedState`.
  static let locks: [Ban] = [Ban("Mutex", use: "Guarded of SharedState, which ThreadSanitizer understands")]

  /// One thread owns everything: no structured concurrency in the shells either.
  static let singleThread: [Ban] = [
    Ban(") async", use: "a callback on the event loop's thread"),
    Ban("async let", use: "a callback on the event loop's thread"),
    Ban("await", use: "a callback on the event loop's thread"),
    Ban("actor", use: "a plain class on the event loop's thread"),
  ]

  /// Allowed with the reason beside it.
  static let unlessReasoned: [Ban] = [
    Ban("DispatchQueue", use: "the event loop's mailbox, or say beside it what blocks"),
    Ban("sleep(", use: "a timer of the event loop, or say beside it why nothing else waits"),
    Ban("usleep(", use: "a timer of the event loop, or say beside it why nothing else waits"),
    Ban("FileHandle(for", .prefix, use: "ProcessOutput for text, or say beside it who writes to it"),
    Ban("try!", use: "try, or say beside it why it cannot fail"),
    Ban("as!", use: "as?, or say beside it why it cannot fail"),
    Ban("@unchecked Sendable", use: "a Sendable type, or say beside it why it is safe"),
    Ban("nonisolated(unsafe)", use: "a let, or say beside it why it is safe"),
    Ban("fatalError(", use: "a thrown error, or say beside it why it cannot happen"),
    Ban("preconditionFailure(", use: "OurBug: throw out, count and go on, or say beside it why it cannot happen"),
    Ban("abs(", use: "the larger less the smaller, or say beside it why it is never of the least number"),
  ]

  static let tests: [Ban] = [
    Ban("usleep(", use: "a condition that the test waits for"),
    Ban("nanosleep(", use: "a condition that the test waits for"),
    Ban("sleep(", use: "a condition that the test waits for"),
  ]
}

/// A word that may not stand in the code of some files.
struct Ban {
  enum Extent { case word, prefix }

  let token: String
  let extent: Extent
  let use: String
  private let bytes: [UInt8]

  init(_ token: String, _ extent: Extent = .word, use: String) {
    self.token = token
    self.extent = extent
    self.use = use
    bytes = Array(token.utf8)
  }

  /// True where the token stands as a word of its own: `async` is not in `asyncHandle`, and `as!` is not in `alias!`.
  func occurs(in line: [UInt8]) -> Bool {
    guard line.count >= bytes.count else { return false }
    for start in 0...(line.count - bytes.count) where line[start] == bytes[0] {
      guard line[start..<(start + bytes.count)].elementsEqual(bytes) else { continue }
      if Ban.isWord(bytes[0]), start > 0, Ban.isWord(line[start - 1]) || line[start - 1] == UInt8(ascii: "`") {
        continue
      }
      let end = start + bytes.count
      if extent == .word, Ban.isWord(bytes[bytes.count - 1]), end < line.count, Ban.isWord(line[end]) { continue }
      return true
    }
    return false
  }

  /// True for letters, digits and `_` of ASCII.
  static func isWord(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
      true
    default: false
    }
  }
}

extension StringProtocol {
  /// The runs of letters, digits and `_`; what is not ASCII counts as a letter.
  var words: [Substring] {
    let (text, bytes) = (Substring(self), Substring(self).utf8)
    return bytes.split { $0 < 0x80 && !Ban.isWord($0) }.map { text[$0.startIndex..<$0.endIndex] }
  }
}
