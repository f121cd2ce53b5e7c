// `tollgate top` without a terminal: what keys do, what is asked, and what is seen at several sizes.
import Testing

@testable import TerminalScreen

@Suite struct TopScreenTests {
  private static let classes =
    #""headline": "steer calls wait 0 ms; background waits 4 s for output tokens of openai", "classes": {"high": {"queued": 0}, "normal": {"queued": 2, "oldest_ms": 4100, "predicted_wait_ms": 9000, "waits_for": {"blocker": "provider_bucket", "provider": "openai", "text": "output tokens of openai"}}, "low": {"queued": 15}},"#

  private static func entry(_ number: Int, _ more: String) -> String {
    #"""
    {"id": "01KBREQUEST\#(number)", "state": "running", "outcome": null, "tenant": "acme", "session": "s\#(number)", "priority": "high", "model": "gpt-test",
     "provider": "openai", "key": "main", "queued_ms": \#(number * 1000), "first_byte_ms": null, "total_ms": null, "attempts": 1, "input_tokens": 10, "output_tokens": 2,
     "cost_usd": "0.01\#(number)000000", \#(more) "kind": null}
    """#
  }

  private func screen(requests: Int = 3, _ more: String = "") throws -> TopScreen {
    var screen = TopScreen()
    screen.show(try decoded(StatusReport.self, StatusTextTests.plain(TopScreenTests.classes)))
    let entries = (1...requests).map { TopScreenTests.entry($0, more) }.joined(separator: ",")
    screen.show(try decoded(RequestReport.self, #"{"requests": [\#(entries)]}"#).requests, state: "running")
    return screen
  }

  private func lines(_ screen: inout TopScreen, _ columns: Int = 80, _ rows: Int = 24) -> [String] {
    let drawn = screen.draw(columns: columns, rows: rows, page(width: columns))
    return (0..<drawn.rows).map { drawn.text(row: $0) }
  }

  private func press(_ screen: inout TopScreen, _ keys: Key...) -> TopScreen.Wish? {
    var wish: TopScreen.Wish?
    for key in keys { wish = screen.press(key, page(width: 80)) }
    return wish
  }

  @Test(arguments: [(80, 24), (120, 40), (200, 60), (40, 10), (60, 15)])
  func showsWhatMattersAtEverySize(_ columns: Int, _ rows: Int) throws {
    var screen = try screen()
    let lines = lines(&screen, columns, rows)
    #expect(lines.count == rows && lines.allSatisfy { CellText.width($0) <= columns })
    #expect(lines[0].hasPrefix(" tollgate 0.1.0") && lines[0].hasSuffix("15:00:00"))
    #expect(lines.contains { $0.hasPrefix("STATE") } && lines.contains { $0.hasPrefix("running  high") })
    #expect(lines[rows - 1].hasPrefix("q quit"))
    if rows >= 24 {
      let text = lines.joined(separator: "\n")
      for part in [
        "steer calls wait 0 ms", "running 48, waiting 17",
        "normal        2   4.1 s      9.0 s  output tokens of openai", "48 of 50", "requests 98%", "closed",
      ] { #expect(text.contains(part), "\(part) is missing in\n\(text)") }
    }
  }

  @Test func aTinyTerminalIsToldSo() throws {
    var screen = try screen()
    #expect(lines(&screen, 38, 9).joined(separator: " ").hasPrefix("This terminal is 38x9. tollgate top"))
    #expect(lines(&screen, 1, 1).count == 1)
  }

  @Test func sortsAndFilters() throws {
    var screen = try screen()
    func waits() -> [String] {
      lines(&screen).filter { $0.hasPrefix("running  high") }.map { String($0.split(separator: " ")[2]) }
    }
    #expect(waits() == ["3.0", "2.0", "1.0"])
    #expect(press(&screen, .character("r")) == nil)
    #expect(waits() == ["1.0", "2.0", "3.0"])
    // By time, tokens, cost, class, tenant, provider, session.
    for _ in 0..<7 { _ = press(&screen, .character("s")) }
    #expect(screen.order == "session" && waits() == ["3.0", "2.0", "1.0"])
    #expect(press(&screen, .character("/"), .character("s"), .character("2"), .enter) == .ask)
    #expect(screen.filter.text == "s2" && waits() == ["2.0"])
    #expect(press(&screen, .character("x")) == .ask)
    #expect(screen.filter.isEmpty)
  }

  @Test(arguments: [
    ("class:high tenant:acm session:s1", 1), ("class=low", 0), ("provider:OPEN", 3), ("tenant:other", 0), ("gpt s3", 1),
    ("nothing", 0), ("01KBREQUEST2", 1),
  ])
  func filtersByFieldsAndWords(_ text: String, _ count: Int) throws {
    let screen = try screen()
    var list = TopList(.requests, screen.picture, .alive, page(width: 80))
    list.arrange(filter: TopFilter(text), order: "wait", isReversed: false)
    #expect(list.rows.count == count)
  }

  @Test func namesOfTheSelectedRowAreAskedOfTheBroker() throws {
    var screen = try screen()
    _ = lines(&screen)
    #expect(press(&screen, .down, .character("e")) == .ask)
    #expect(screen.filter.exact(.session) == "s2")
    #expect(screen.nextQuestion() == .requests(state: "running", [.session: "s2"]))
    screen.refused(.requests(state: "running", [.session: "s2"]), "there is no parameter 'session'")
    #expect(screen.nextQuestion() == .requests(state: "queued", [:]))
    #expect(press(&screen, .character("e")) == .ask)
    #expect(screen.filter.isEmpty)
    #expect(press(&screen, .character("c")) == .ask && screen.filter.text == "class:high")
  }

  @Test func theSelectionStaysWithItsRow() throws {
    var screen = try screen(requests: 9)
    _ = press(&screen, .down, .down)
    func selected() -> String? { screen.selection(in: screen.list(page())).map { screen.list(page()).rows[$0].id } }
    #expect(selected() == "01KBREQUEST7")
    _ = press(&screen, .character("r"))
    #expect(selected() == "01KBREQUEST7")
    _ = press(&screen, .end)
    #expect(selected() == "01KBREQUEST9")
    _ = press(&screen, .pageUp, .home, .up)
    #expect(selected() == "01KBREQUEST1")
  }

  @Test func enterOpensTheStory() throws {
    var screen = try screen()
    #expect(press(&screen, .enter) == .ask)
    #expect(screen.nextQuestion() == .story("01KBREQUEST3"))
    #expect(lines(&screen).contains("asking for 01KBREQUEST3 ..."))
    screen.show(story: "of another one", of: "01KBREQUEST1")
    screen.show(story: (1...60).map { "line \($0)" }.joined(separator: "\n"), of: "01KBREQUEST3")
    #expect(lines(&screen)[2] == "line 1")
    _ = press(&screen, .pageDown)
    #expect(lines(&screen)[2] == "line 21")
    _ = press(&screen, .end)
    #expect(lines(&screen)[22] == "line 60")
    _ = press(&screen, .up)
    #expect(lines(&screen)[22] == "line 59")
    #expect(press(&screen, .escape) == .ask)
    #expect(lines(&screen).contains { $0.hasPrefix("STATE") })
    #expect(press(&screen, .enter, .character("q")) == .quit)
  }

  @Test func pauseKeepsThePicture() throws {
    var screen = try screen()
    _ = press(&screen, .character("p"))
    screen.show(
      try decoded(StatusReport.self, StatusTextTests.plain().replacing("\"running\": 48", with: "\"running\": 49")))
    #expect(lines(&screen)[0].contains("PAUSED") && lines(&screen).contains { $0.contains("running 48") })
    #expect(screen.nextQuestion() == nil)
    #expect(press(&screen, .character("p")) == .ask)
    #expect(!lines(&screen)[0].contains("PAUSED") && screen.nextQuestion() != nil)
  }

  @Test func aBrokerThatHasGoneLeavesAStalePicture() throws {
    var screen = try screen()
    screen.tell(trouble: "no broker answers\nor so", now: noon * 1_000_000_000)
    let gone = lines(&screen)
    #expect(gone[0].contains("STALE") && gone[1] == "no broker answers; asking again, the picture is of 15:00:00")
    #expect(gone.contains { $0.contains("48 of 50") })
    screen.tell(trouble: "no broker answers (connection refused).", now: noon * 1_000_000_000)
    #expect(lines(&screen)[1].hasPrefix("no broker answers (connection refused); asking again"))
    screen.show(try decoded(StatusReport.self, StatusTextTests.plain()))
    #expect(!lines(&screen)[0].contains("STALE"))
  }

  @Test func everyListAndOverlayIsDrawnAndEveryKeyIsTaken() throws {
    var screen = try screen()
    var random = Dice(seed: 7)
    let keys: [Key] =
      [
        .enter, .escape, .tab, .backTab, .backspace, .up, .down, .left, .right, .pageUp, .pageDown, .home, .end, .other,
        .control("u"),
      ] + "0123456789/sSrwxctveph? ".map { .character($0) }
    for _ in 0..<500 {
      let key = keys.randomElement(using: &random) ?? .other
      #expect(screen.press(key, page(width: 80)) != .quit)
      let size = (Int.random(in: 1...130, using: &random), Int.random(in: 1...50, using: &random))
      let drawn = lines(&screen, size.0, size.1)
      #expect(drawn.count == size.1 && drawn.allSatisfy { CellText.width($0) <= size.0 })
      _ = screen.nextQuestion()
    }
    #expect(screen.press(.control("c"), page()) == .quit && screen.press(.control("z"), page()) == .suspend)
  }

  @Test func namesOfClientsStayInTheirColumn() throws {
    var screen = TopScreen()
    screen.show(try decoded(StatusReport.self, StatusTextTests.plain()))
    let hostile = TopScreenTests.entry(1, "").replacing(
      "\"s1\"", with: #""\u001b[2J\u202e日本\u0301\u0301\u0301\u0301<b>""#)
    screen.show(try decoded(RequestReport.self, #"{"requests": [\#(hostile)]}"#).requests, state: "running")
    let row = try #require(lines(&screen, 200, 40).first { $0.hasPrefix("running  high") })
    #expect(row.contains(#"\u001b[2J\u202e日"#) && row.contains("gpt-test") && !row.contains("\u{202E}"))
  }
}
