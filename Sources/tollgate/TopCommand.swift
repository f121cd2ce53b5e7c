// `tollgate top`: the state of a running broker, live: full screen on a terminal, else lines.
import ArgumentParser
import EventLoop
import Foundation
import HTTPMessage
import ProcessOutput
import TerminalScreen
import UpstreamHTTP

struct TopCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "top", abstract: "Watch queues, places, limits, breakers, keys, sessions, requests and money, live.",
    discussion: """
      On a terminal it fills the screen; '?' there shows the keys, Enter tells the story of a request, q or Ctrl-C ends. Elsewhere, and \
      with TERM=dumb, it prints what 'tollgate status' prints, again and again. NO_COLOR=1 takes the colours away.
      """)

  @OptionGroup var admin: AdminOptions
  @Option(help: ArgumentHelp("Seconds between two looks, 1 to 60.", valueName: "seconds")) var every = 1

  func validate() throws {
    guard (1...60).contains(every) else { throw ValidationError("--every: found \(every), allowed are 1 to 60") }
  }

  func run() throws {
    EndingSignals.endQuietly()
    let client = AdminClient(options: admin)
    if let device = TerminalDevice() {
      return try TopProgram(client: client, device: device, every: .seconds(every)).run()
    }
    // If the first call fails, the command ends; a later failure is only shown, since a broker may restart.
    func look() throws -> String {
      StatusText.text(try client.get(StatusReport.self, "/api/v1/status"), .current)
    }
    Terminal.line(try look() + "\n")
    if StandardStream.hasNoOutput { return }
    try Repetition.run(every: .seconds(every)) {
      do { Terminal.line(try look() + "\n") } catch { Terminal.line("\(error)\n") }
    }
  }
}

/// The program around ``TopScreen``: the terminal, the signals, and one question a second at most.
private final class TopProgram {
  /// How long a lone escape byte waits for the rest of a sequence.
  private static let escapeWait = Duration.milliseconds(60)
  private static let leastPause = Duration.seconds(1)

  private let loop: EventLoop
  private let upstream: CurlUpstream
  private let client: AdminClient
  private let device: TerminalDevice
  private let every: Duration
  private let colours = Terminal.hasColours

  private var screen = TopScreen()
  private var decoder = KeyDecoder()
  /// What the terminal shows; nil where that is not known.
  private var shown: ScreenBuffer?
  private var isDrawing = false
  private var isEntered = false
  private var failure: (any Error)?

  private var watch: DescriptorWatch?
  private var signals: [SignalWatch] = []
  private var stopSignal: SignalWatch?
  private lazy var ticker = LoopTimer(loop) { [unowned self] in tick() }
  private lazy var escapeTimer = LoopTimer(loop) { [unowned self] in act(on: decoder.pause()) }

  private var stream: (any UpstreamCall)?
  private var question: (any UpstreamCall)?
  private var lastAsked: UInt64 = 0
  private var lastTaken: UInt64 = 0

  init(client: AdminClient, device: TerminalDevice, every: Duration) throws {
    loop = try EventLoop()
    upstream = try client.upstream(on: loop)
    self.client = client
    self.device = device
    self.every = every
  }

  func run() throws {
    connect()
    loop.run()
    if isEntered { device.leave(ScreenSequences.leave) }
    watch?.close()
    upstream.close()
    if let failure { throw failure }
  }

  // MARK: The terminal

  /// Once the first snapshot is there: a broker that does not answer is told without a screen.
  private func enter() {
    isEntered = true
    do {
      signals = try [SIGTERM, SIGINT, SIGHUP].map {
        try SignalWatch(loop, signal: $0) { [unowned self] in loop.stop() }
      }
      signals.append(try SignalWatch(loop, signal: SIGWINCH) { [unowned self] in repaint() })
      // Who stopped it from outside has perhaps changed the terminal.
      signals.append(try SignalWatch(loop, signal: SIGCONT) { [unowned self] in wake() })
      stopSignal = try SignalWatch(loop, signal: SIGTSTP) { [unowned self] in suspend() }
      watch = try DescriptorWatch(loop, descriptor: device.descriptor) { [unowned self] in ready($0) }
    } catch {
      failure = error
      return loop.stop()
    }
    take(device.enter(ScreenSequences.enter))
    ticker.schedule(after: TopProgram.leastPause)
    repaint()
  }

  private func take(_ ending: TerminalDevice.Ending) {
    // A terminal that has hung up ends the program as q does.
    if ending == .gone { return loop.stop() }
    watch?.wait(for: ending == .waits ? [.readable, .writable] : .readable)
  }

  private func ready(_ readiness: Readiness) {
    if device.isBusy {
      take(device.flush())
      if !device.isBusy, isDrawing { draw() }
    }
    let (bytes, ending) = device.read()
    guard ending != .gone else { return loop.stop() }
    act(on: decoder.keys(from: bytes))
    if decoder.isWaiting { escapeTimer.schedule(after: TopProgram.escapeWait) } else { escapeTimer.cancel() }
  }

  private func repaint() {
    shown = nil
    draw()
  }

  private func draw() {
    guard isEntered else { return }
    isDrawing = device.isBusy
    guard !isDrawing else { return take(.waits) }
    let size = device.size
    let next = screen.draw(columns: size.columns, rows: size.rows, page(columns: size.columns))
    let changes = next.changes(since: shown, colours: colours)
    shown = next
    take(changes.isEmpty ? .done : device.write(changes))
  }

  private func page(columns: Int) -> ReportPage {
    var page = ReportPage.current
    page.width = columns
    return page
  }

  private func suspend() {
    device.leave(ScreenSequences.leave)
    stopSignal = nil
    TerminalDevice.stop()
    do { stopSignal = try SignalWatch(loop, signal: SIGTSTP) { [unowned self] in suspend() } } catch { failure = error }
    wake()
  }

  private func wake() {
    take(device.enter(device.isEntered ? ScreenSequences.again : ScreenSequences.enter))
    repaint()
    // The time while it was stopped is no silence of the broker.
    stream?.cancel()
    stream = nil
    soon()
  }

  // MARK: Keys

  private func act(on keys: [Key]) {
    guard !keys.isEmpty else { return }
    for key in keys {
      switch screen.press(key, page(columns: device.size.columns)) {
      case .quit: return loop.stop()
      case .suspend: suspend()
      case .repaint: shown = nil
      case .ask: soon()
      case nil: break
      }
    }
    draw()
  }

  // MARK: The broker

  /// The next question as soon as a second has passed since the last one.
  private func soon() {
    ticker.schedule(at: max(loop.now, lastAsked &+ TopProgram.leastPause.wholeNanoseconds))
  }

  private func tick() {
    ticker.schedule(after: every)
    if stream == nil { connect() } else if question == nil, let next = screen.nextQuestion() { ask(next) }
    draw()
  }

  /// The stream of snapshots, one each second.
  private func connect() {
    lastAsked = loop.now
    let events = TopStream { [unowned self] event in
      guard event.name == "snapshot" else { return }
      let pause = every.wholeNanoseconds
      // A little early rather than one snapshot late.
      guard lastTaken == 0 || screen.trouble != nil || loop.now &- lastTaken &+ 200_000_000 >= pause else { return }
      do {
        let path = "/api/v1/events"
        screen.show(try client.decode(StatusReport.self, Data(event.data), of: path))
        lastTaken = loop.now
      } catch { return fail(error) }
      if isEntered { draw() } else { enter() }
    } ended: { [unowned self] answer in
      stream = nil
      fail(client.refusal(answer) ?? CommandRefusal("tollgate: the broker at \(client.options.shownAddress) has gone"))
    }
    do {
      stream = try client.begin(
        "GET", "/api/v1/events", on: upstream,
        timeouts: UpstreamTimeouts(connect: .seconds(3), firstByte: .seconds(10), idle: .seconds(10), total: nil),
        accept: "text/event-stream", events: events)
    } catch { fail(error) }
  }

  private func fail(_ error: any Error) {
    guard isEntered else {
      failure = error
      return loop.stop()
    }
    screen.tell(trouble: "\(error)", now: ReportPage.current.clock.now)
    draw()
  }

  private func ask(_ next: TopQuestion) {
    lastAsked = loop.now
    let answer = AdminAnswer { [unowned self] answer in
      question = nil
      if client.refusal(answer) != nil {
        // A broker that does not answer is told by the stream's end.
        if answer.failure == nil { screen.refused(next, AdminClient.message(of: answer.body)) }
      } else {
        do { try show(answer, of: next) } catch { screen.refused(next, "\(error)") }
      }
      draw()
    }
    do {
      question = try client.begin("GET", TopProgram.path(of: next), on: upstream, events: answer)
    } catch { fail(error) }
  }

  private static func path(of question: TopQuestion) -> String {
    switch question {
    case .requests(let state, let names):
      let parameters = TopFilter.Field.allCases.compactMap { field in
        names[field].map { "&\(field == .priority ? "priority" : field.rawValue)=\(AdminClient.segment($0))" }
      }
      return "/api/v1/requests?state=\(state)&limit=200" + parameters.joined()
    case .sessions(let tenant):
      return "/api/v1/sessions?limit=200" + (tenant.map { "&tenant=\(AdminClient.segment($0))" } ?? "")
    case .story(let id): return "/api/v1/requests/\(AdminClient.segment(id))"
    }
  }

  private func show(_ answer: AdminAnswer, of question: TopQuestion) throws {
    let (body, path) = (Data(answer.body), TopProgram.path(of: question))
    switch question {
    case .requests(let state, _):
      screen.show(try client.decode(RequestReport.self, body, of: path).requests, state: state)
    case .sessions: screen.show(try client.decode(SessionReport.self, body, of: path))
    case .story(let id):
      screen.show(story: ExplainCommand.text(try client.decode(ExplainCommand.Story.self, body, of: path)), of: id)
    }
  }
}

/// The answer of `/api/v1/events`, event by event; the body of a refusal is kept.
private final class TopStream: UpstreamEvents {
  private var reader = EventStream()
  private let event: (EventStream.Event) -> Void
  private let answer: AdminAnswer

  init(event: @escaping (EventStream.Event) -> Void, ended: @escaping (AdminAnswer) -> Void) {
    self.event = event
    answer = AdminAnswer(ended: ended)
  }

  func upstreamResponded(_ head: ResponseHead) { answer.upstreamResponded(head) }
  func upstreamReceived(_ bytes: ArraySlice<UInt8>) {
    guard answer.status == 200 else { return answer.upstreamReceived(bytes) }
    for one in reader.events(from: bytes) { event(one) }
  }
  func upstreamEnded(_ ending: UpstreamEnding) { answer.upstreamEnded(ending) }
}
