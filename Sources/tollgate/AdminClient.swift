// How commands call a running broker: one HTTP call to its admin address, over the same upstream adapter that the
// broker uses.
import ArgumentParser
import EventLoop
import Foundation
import HTTPMessage
import TextForms
import UpstreamHTTP

/// The options by which every command finds its broker.
struct AdminOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "The broker's admin address: HOST:PORT or unix:/PATH. Default: TOLLGATE_ADMIN or 127.0.0.1:4142.",
      valueName: "addr"))
  var admin: String?

  @Option(help: ArgumentHelp("The admin token. Default: TOLLGATE_ADMIN_TOKEN.", valueName: "token"))
  var token: String?

  /// Where the broker is looked for.
  func address() throws -> BrokerAddress {
    if let admin { return try BrokerAddress(admin, from: "--admin") }
    let text = ProcessInfo.processInfo.environment["TOLLGATE_ADMIN"] ?? "127.0.0.1:4142"
    guard !text.isEmpty else {
      throw ValidationError(
        "TOLLGATE_ADMIN: the variable is set and empty; unset it, or set it to the broker's admin address, such as "
          + "127.0.0.1:4142")
    }
    return try BrokerAddress(text, from: "TOLLGATE_ADMIN")
  }
  /// The same for messages.
  var shownAddress: String { (try? address())?.shown ?? "" }
  func shownAddress(of path: String) -> String { (try? address())?.shown(path) ?? path }
  var secret: String? {
    let text = token ?? ProcessInfo.processInfo.environment["TOLLGATE_ADMIN_TOKEN"] ?? ""
    return text.isEmpty ? nil : text
  }

  func validate() throws {
    guard let admin else { return }
    if admin.isEmpty {
      throw ValidationError(
        "--admin: the address is empty; allowed are HOST:PORT, unix:/PATH and URLs such as http://127.0.0.1:4142")
    }
    _ = try BrokerAddress(admin, from: "--admin")
  }
}

struct AdminClient {
  let options: AdminOptions
  private var secret: String? { options.secret }

  /// An upstream for calls to the broker.
  func upstream(on loop: EventLoop) throws -> CurlUpstream {
    let upstream = try CurlUpstream(loop: loop)
    upstream.configure(provider: "admin", ProviderTransport(socketPath: try options.address().socketPath))
    return upstream
  }

  static let timeouts = UpstreamTimeouts(
    connect: .seconds(3), firstByte: .seconds(10), idle: .seconds(10), total: .seconds(30))

  /// Begins one call.
  func begin(
    _ method: String, _ path: String, on upstream: CurlUpstream, timeouts: UpstreamTimeouts = AdminClient.timeouts,
    accept: String = "application/json", events: any UpstreamEvents
  ) throws -> any UpstreamCall {
    var fields = HeaderFields([(name: "accept", value: accept)])
    if let secret { fields.append(name: "authorization", value: "Bearer \(secret)") }
    let url = try options.address().base + path
    return upstream.begin(
      UpstreamRequest(provider: "admin", method: method, url: url, fields: fields, body: [], timeouts: timeouts),
      events: events)
  }

  /// Why an answer is none.
  func refusal(_ answer: AdminAnswer) -> CommandRefusal? {
    if let failure = answer.failure {
      return CommandRefusal(
        """
        tollgate: no broker answers at \(options.shownAddress) (\(reason(failure))).
        Is 'tollgate serve' running? Another address is given with --admin.
        """)
    }
    if answer.status == 401 {
      let said = secret == nil ? "asks for its admin token" : "does not know the token that was given"
      return CommandRefusal("tollgate: the broker \(said): give --token TOKEN, or set TOLLGATE_ADMIN_TOKEN")
    }
    guard (200..<300).contains(answer.status) else {
      return CommandRefusal("tollgate: the broker said \(answer.status): \(AdminClient.message(of: answer.body))")
    }
    return nil
  }

  private func reason(_ failure: UpstreamFailure) -> String {
    let address = try? options.address()
    if let obstacle = address?.obstacle { return obstacle }
    if address?.socketPath != nil, failure.kind == .connectRefused { return "nobody listens there any more" }
    return failure.detail.isEmpty ? failure.kind.rawValue : failure.detail
  }

  /// Makes one call, and waits for whatever the answer is.
  func ask(_ method: String, _ path: String) throws -> AdminAnswer {
    let loop = try EventLoop()
    let upstream = try upstream(on: loop)
    let answer = AdminAnswer { _ in loop.stop() }
    let call = try begin(method, path, on: upstream, events: answer)
    loop.run()
    withExtendedLifetime(call) {}
    upstream.close()
    return answer
  }

  /// Makes one call; throws a refusal with the broker's message where the broker refuses.
  func call(_ method: String, _ path: String) throws -> Data {
    let answer = try ask(method, path)
    if let refusal = refusal(answer) { throw refusal }
    return Data(answer.body)
  }

  func get<Value: Decodable>(_ type: Value.Type, _ path: String) throws -> Value {
    try decode(type, try call("GET", path), of: path)
  }

  /// The broker's answer at `path`, decoded.
  func decode<Value: Decodable>(_ type: Value.Type, _ answer: Data, of path: String) throws -> Value {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    do { return try decoder.decode(type, from: answer) } catch is DecodingError {
      throw CommandRefusal(AdminClient.unexpected(options.shownAddress(of: path)))
    }
  }

  /// - Parameter source: names the sender, for the error when the answer cannot be read.
  static func unexpected(_ source: String) -> String {
    "tollgate: the answer of \(source) is not what tollgate \(tollgateVersion) expects; "
      + "is it the admin address of a broker of the same version?"
  }

  /// A name as one segment of a path.
  static func segment(_ name: some StringProtocol) -> String { PercentEscapes.encoded(String(name)) }

  static func message(of body: [UInt8]) -> String {
    struct Failure: Decodable {
      struct Message: Decodable { var message: String }
      var error: Message?
      var errors: [String]?
    }
    let failure = try? JSONDecoder().decode(Failure.self, from: Data(body))
    let text =
      failure?.error?.message ?? failure?.errors?.joined(separator: "\n")
      ?? String(decoding: body.prefix(1000), as: UTF8.self)
    return PrintableText.escaped(text, keepsLines: true)
  }
}

/// The answer of one call, once it has ended.
final class AdminAnswer: UpstreamEvents {
  private let ended: (AdminAnswer) -> Void
  private(set) var status = 0
  private(set) var body: [UInt8] = []
  private(set) var failure: UpstreamFailure?

  init(ended: @escaping (AdminAnswer) -> Void) { self.ended = ended }

  func upstreamResponded(_ head: ResponseHead) { status = head.status }
  func upstreamReceived(_ bytes: ArraySlice<UInt8>) { body.append(contentsOf: bytes) }
  func upstreamEnded(_ ending: UpstreamEnding) {
    if case .failed(let failure) = ending { self.failure = failure }
    ended(self)
  }
}
