// What Anthropic's marked prompts read and leave in the cache: marks, minimum, life, keys, changes, streams, limits.
import Testing

@testable import ProviderSimulator

@Suite struct PromptCacheTests {
  /// A marked prompt and what its answer says of it.
  private struct Prompt {
    var tools = ""
    var system = ""
    var messages: [String] = []
    var more = ""
    var key = "k1"
    var model = "m"
    var fields: [(name: String, value: String)] = []

    var body: String {
      let tools = tools.isEmpty ? "" : "\"tools\":[\(tools)],"
      let system = system.isEmpty ? "" : "\"system\":[\(system)],"
      return """
        {"model":"\(model)","max_tokens":1000,\(tools)\(system)"messages":[\(messages.joined(separator: ","))]\(more)}
        """
    }

    func begin(_ bench: Bench) -> MemoryExchange { send(bench, body: body) }

    func send(_ bench: Bench, body: String) -> MemoryExchange {
      let fields = [(name: "anthropic-version", value: "2023-06-01"), (name: "x-api-key", value: key)] + self.fields
      return bench.call("POST", "/v1/messages", fields, body: body)
    }

    /// The counts of the answer, which comes 10 ms later.
    func counts(_ bench: Bench) -> Counts? {
      let exchange = begin(bench)
      bench.time.advance(milliseconds: 10)
      return Counts(exchange.text)
    }
  }

  private struct Counts: Equatable {
    var input: Int
    var read: Int
    var short: Int
    var hour = 0

    init(input: Int, read: Int, short: Int, hour: Int = 0) {
      self.input = input
      self.read = read
      self.short = short
      self.hour = hour
    }

    /// Nil where the answer has no consistent usage.
    init?(_ text: String, at path: String = "usage") {
      guard let document = Document(text), let input = document.number(path + ".input_tokens"),
        let read = document.number(path + ".cache_read_input_tokens"),
        let written = document.number(path + ".cache_creation_input_tokens"),
        let short = document.number(path + ".cache_creation.ephemeral_5m_input_tokens"),
        let hour = document.number(path + ".cache_creation.ephemeral_1h_input_tokens"), short + hour == written
      else { return nil }
      self.init(input: Int(input), read: Int(read), short: Int(short), hour: Int(hour))
    }
  }

  private static let mark = ",\"cache_control\":{\"type\":\"ephemeral\"}"
  private static let hourMark = ",\"cache_control\":{\"type\":\"ephemeral\",\"ttl\":\"1h\"}"

  /// Text of so many tokens.
  private func words(_ tokens: Int, _ word: String = "abcd") -> String { String(repeating: word, count: tokens) }

  private func part(_ text: String, _ mark: String = "") -> String { "{\"type\":\"text\",\"text\":\"\(text)\"\(mark)}" }

  private func user(_ parts: String...) -> String {
    "{\"role\":\"user\",\"content\":[\(parts.joined(separator: ","))]}"
  }

  private func user(text: String) -> String { "{\"role\":\"user\",\"content\":\"\(text)\"}" }

  private let shortCache = Bench()

  @Test func markedBeginningIsReadByTheNextCall() {
    let prompt = Prompt(system: part(words(2000), Self.mark), messages: [user(text: "12345678")])
    #expect(prompt.counts(shortCache) == Counts(input: 2, read: 0, short: 2000))
    #expect(prompt.counts(shortCache) == Counts(input: 2, read: 2000, short: 0))
    #expect(shortCache.stat("tokens.input") == 4004)
    #expect(shortCache.stat("tokens.cache_read") == 2000)
    #expect(shortCache.stat("tokens.cache_write") == 2000)
  }

  @Test func unmarkedPromptIsNotCached() {
    let prompt = Prompt(system: part(words(2000)), messages: [user(text: "12345678")])
    #expect(prompt.counts(shortCache) == Counts(input: 2002, read: 0, short: 0))
    #expect(prompt.counts(shortCache) == Counts(input: 2002, read: 0, short: 0))
    #expect(shortCache.stat("cache_entries") == 0)
  }

  @Test(arguments: [(1024, 1024), (1023, 0)])
  func shorterBeginningIsNotCached(tokens: Int, written: Int) {
    let prompt = Prompt(system: part(words(tokens), Self.mark), messages: [user(text: "12345678")])
    #expect(prompt.counts(shortCache) == Counts(input: tokens + 2 - written, read: 0, short: written))
    #expect(prompt.counts(shortCache) == Counts(input: tokens + 2 - written, read: written, short: 0))
  }

  /// The answer comes 10 ms after the call, which is when the test goes on.
  @Test(arguments: [
    (PromptCacheTests.mark, 299_990, true), (PromptCacheTests.mark, 299_991, false),
    (PromptCacheTests.hourMark, 3_599_990, true), (PromptCacheTests.hourMark, 3_599_991, false),
  ])
  func beginningLivesFromTheStartOfItsCall(mark: String, pause: Int, isKept: Bool) {
    let prompt = Prompt(system: part(words(2000), mark), messages: [user(text: "1234")])
    _ = prompt.counts(shortCache)
    shortCache.time.advance(milliseconds: pause)
    #expect(prompt.counts(shortCache)?.read == (isKept ? 2000 : 0))
  }

  @Test func longAnswerIsPartOfTheLife() {
    var prompt = Prompt(system: part(words(2000), Self.mark), messages: [user(text: "1234")])
    prompt.fields = [("x-sim-first-token-ms", "100000")]
    _ = prompt.begin(shortCache)
    shortCache.time.advance(milliseconds: 300_001)
    prompt.fields = []
    #expect(prompt.counts(shortCache)?.read == 0)
  }

  @Test func readingProlongsTheLife() {
    let prompt = Prompt(system: part(words(2000), Self.mark), messages: [user(text: "1234")])
    _ = prompt.counts(shortCache)
    for _ in 0..<3 {
      shortCache.time.advance(milliseconds: 299_000)
      #expect(prompt.counts(shortCache)?.read == 2000)
    }
    shortCache.time.advance(milliseconds: 301_000)
    #expect(prompt.counts(shortCache)?.read == 0)
  }

  @Test func beginningsOfWhatWasReadStayWarm() {
    let first = Prompt(system: part(words(2000), Self.mark), messages: [user(part(words(10), Self.mark))])
    _ = first.counts(shortCache)
    // Only the end of the message is marked, so the system text is read as a part of it.
    let second = Prompt(system: part(words(2000)), messages: [user(part(words(10), Self.mark))])
    shortCache.time.advance(milliseconds: 200_000)
    #expect(second.counts(shortCache)?.read == 2010)
    shortCache.time.advance(milliseconds: 200_000)
    let third = Prompt(system: part(words(2000), Self.mark), messages: [user(part(words(10, "efgh"), Self.mark))])
    #expect(third.counts(shortCache) == Counts(input: 0, read: 2000, short: 10))
  }

  @Test func beginningIsThereOnceTheAnswerBegins() {
    var prompt = Prompt(system: part(words(2000), Self.mark), messages: [user(text: "1234")])
    prompt.fields = [("x-sim-first-token-ms", "1000"), ("x-sim-tokens-per-second", "1")]
    _ = prompt.begin(shortCache)
    shortCache.time.advance(milliseconds: 500)
    prompt.fields = []
    #expect(prompt.counts(shortCache)?.short == 2000)
    // Its own answer, of 10 ms, has begun; before that nothing was there.
    #expect(prompt.counts(shortCache)?.read == 2000)
    #expect(shortCache.stat("in_flight") == 1)
  }

  @Test func callThatLeavesBeforeItsAnswerKeepsNothing() {
    let prompt = Prompt(system: part(words(2000), Self.mark), messages: [user(text: "1234")])
    shortCache.leave(prompt.begin(shortCache))
    shortCache.time.advance(milliseconds: 20)
    #expect(prompt.counts(shortCache)?.read == 0)
  }

  @Test(arguments: [(19, 1500), (20, 0)])
  func looksBackOverTwentyBlocks(added: Int, read: Int) {
    let first = [part(words(1500), Self.mark)]
    _ = Prompt(messages: [user(first[0])]).counts(shortCache)
    let more = (0..<added).map { part(words(1), $0 == added - 1 ? Self.mark : "") }
    let parts = [part(words(1500))] + more
    let counts = Prompt(messages: ["{\"role\":\"user\",\"content\":[\(parts.joined(separator: ","))]}"]).counts(
      shortCache)
    #expect(counts == Counts(input: 0, read: read, short: 1500 + added - read))
  }

  @Test func secondMarkReachesFurther() {
    _ = Prompt(messages: [user(part(words(1500), Self.mark))]).counts(shortCache)
    let parts = [part(words(1500))] + (0..<30).map { part(words(1), $0 == 15 || $0 == 29 ? Self.mark : "") }
    let counts = Prompt(messages: ["{\"role\":\"user\",\"content\":[\(parts.joined(separator: ","))]}"]).counts(
      shortCache)
    #expect(counts == Counts(input: 0, read: 1500, short: 30))
  }

  @Test func lifeIsCountedForEachMark() {
    let prompt = Prompt(system: part(words(2000), Self.hourMark), messages: [user(part(words(500), Self.mark))])
    #expect(prompt.counts(shortCache) == Counts(input: 0, read: 0, short: 500, hour: 2000))
    #expect(shortCache.stat("tokens.cache_write_hour") == 2000)
    shortCache.time.advance(milliseconds: 400_000)
    #expect(prompt.counts(shortCache) == Counts(input: 0, read: 2000, short: 500))
  }

  @Test func growingConversationWritesOnlyWhatIsNew() {
    var messages: [String] = []
    for turn in 0..<5 {
      messages.append(user(text: words(600, "q\(turn)as")))
      let prompt = Prompt(system: part(words(2000)), messages: messages, more: Self.mark)
      let read = turn == 0 ? 0 : 2000 + turn * 600
      #expect(prompt.counts(shortCache) == Counts(input: 0, read: read, short: 2600 + turn * 600 - read))
    }
  }

  /// The mark moves on with each call, and clients send a part that is alone without its array.
  @Test func markAndFormOfATextDoNotCount() {
    let first = Prompt(messages: [user(part(words(2000), Self.mark))])
    _ = first.counts(shortCache)
    let second = Prompt(messages: [user(text: words(2000)), user(part("1234", Self.mark))])
    #expect(second.counts(shortCache) == Counts(input: 0, read: 2000, short: 1))
  }

  @Test func orderOfFieldsDoesNotCount() {
    let prompt = Prompt()
    let system = "\"system\":\"\(words(2000))\""
    let messages = "\"messages\":[{\"content\":[\(part("1234", Self.mark))],\"role\":\"user\"}]"
    let rest = "\"model\":\"m\",\"max_tokens\":10"
    let one = prompt.send(shortCache, body: "{\(messages),\(system),\(rest)}")
    shortCache.time.advance(milliseconds: 10)
    let other = prompt.send(shortCache, body: "{ \(rest) ,\(system), \(messages)}")
    shortCache.time.advance(milliseconds: 10)
    #expect(Counts(one.text) == Counts(input: 0, read: 0, short: 2001))
    #expect(Counts(other.text) == Counts(input: 0, read: 2001, short: 0))
  }

  @Test func roleIsPartOfThePrompt() {
    let user = Prompt(messages: [user(part(words(2000), Self.mark))])
    _ = user.counts(shortCache)
    var other = user
    other.messages[0] = other.messages[0].replacing("user", with: "assistant")
    #expect(other.counts(shortCache)?.read == 0)
  }

  @Test func changeKeepsWhatComesBefore() {
    let tools = "{\"name\":\"read\",\"input_schema\":{\"type\":\"object\"}\(Self.mark)},"
    func prompt(tool: String = "run", system: String = "s", middle: String = "m") -> Prompt {
      Prompt(
        tools: tools + "{\"name\":\"\(tool)\",\"description\":\"\(words(1100))\"\(Self.mark)}",
        system: part(words(1000, system + "bcd"), Self.mark),
        messages: [user(text: words(1000, middle + "bcd")), user(part(words(1000), Self.mark))])
    }
    let first = prompt().counts(shortCache)
    let all = first.map { $0.short } ?? 0
    #expect(all > 4000)
    #expect(prompt().counts(shortCache)?.read == all)
    // One message in the middle: tools and system text are read.
    #expect(prompt(middle: "x").counts(shortCache)?.short == 2000)
    #expect(prompt(system: "x").counts(shortCache)?.short == 3000)
    #expect(prompt(tool: "rin").counts(shortCache)?.read == 0)
  }

  @Test func choiceOfToolsKeepsTheSystemText() {
    var prompt = Prompt(system: part(words(2000), Self.mark), messages: [user(part(words(500), Self.mark))])
    _ = prompt.counts(shortCache)
    prompt.more = ",\"tool_choice\":{\"type\":\"any\"}"
    #expect(prompt.counts(shortCache) == Counts(input: 0, read: 2000, short: 500))
  }

  @Test func nameOfAToolsFieldIsNoMark() {
    let tool =
      "{\"name\":\"t\",\"description\":\"\(words(2000))\",\"input_schema\":{\"properties\":{\"cache_control\":{\"x\":1}}}}"
    let prompt = Prompt(tools: tool, messages: [user(text: "1234")])
    #expect(prompt.counts(shortCache)?.short == 0)
  }

  @Test func markInsideAToolsResultIsTheResults() {
    func result(_ text: String, _ mark: String) -> String {
      user("{\"type\":\"tool_result\",\"tool_use_id\":\"t1\",\"content\":[\(part(text, mark))]}")
    }
    _ = Prompt(messages: [result(words(2000), Self.mark)]).counts(shortCache)
    let second = Prompt(messages: [result(words(2000), ""), user(part("1234", Self.mark))])
    #expect(second.counts(shortCache) == Counts(input: 0, read: 2000, short: 1))
  }

  @Test func picturesCount() {
    let picture = "{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"image/png\",\"data\":\"AAAA\"}"
    let prompt = Prompt(messages: [user(picture + Self.mark + "}")])
    #expect(prompt.counts(shortCache)?.short == 1500)
    #expect(prompt.counts(shortCache)?.read == 1500)
    let other = Prompt(messages: [user(picture.replacing("AAAA", with: "AAAB") + Self.mark + "}")])
    #expect(other.counts(shortCache)?.read == 0)
  }

  @Test(arguments: [
    (5, "", "A maximum of 4 blocks with cache_control may be provided. Found 5."),
    (4, PromptCacheTests.mark, "A maximum of 4 blocks with cache_control may be provided. Found 5."),
    (4, "", nil), (3, PromptCacheTests.mark, nil),
  ])
  func thereAreFourMarks(count: Int, more: String, refusal: String?) {
    let parts = (0..<count).map { _ in part("1234", Self.mark) } + [part("last")]
    let body = "{\"role\":\"user\",\"content\":[\(parts.joined(separator: ","))]}"
    let exchange = Prompt(messages: [body], more: more).begin(shortCache)
    shortCache.time.advance(milliseconds: 10)
    #expect(exchange.status == (refusal == nil ? 200 : 400))
    #expect(Document(exchange.text)?.text("error.message") == refusal)
  }

  @Test func longerLifeComesFirst() {
    let wrong = Prompt(system: part("1234", Self.mark), messages: [user(part("1234", Self.hourMark))])
    #expect(wrong.begin(shortCache).status == 400)
    let twice = Prompt(messages: [user(part("1234", Self.mark))], more: Self.hourMark)
    #expect(twice.begin(shortCache).status == 400)
    let same = Prompt(messages: [user(part("1234", Self.mark))], more: Self.mark).begin(shortCache)
    shortCache.time.advance(milliseconds: 10)
    #expect(same.status == 200)
  }

  @Test(arguments: SimulatorConfiguration.Quota.allCases)
  func otherKeyReadsOnlyWhereTheCacheIsShared(sharing: SimulatorConfiguration.Quota) {
    let bench = Bench { $0.promptCache = sharing }
    var prompt = Prompt(system: part(words(2000), Self.mark), messages: [user(text: "1234")])
    _ = prompt.counts(bench)
    prompt.key = "k2"
    #expect(prompt.counts(bench)?.read == (sharing == .shared ? 2000 : 0))
    prompt.key = "k1"
    #expect(prompt.counts(bench)?.read == 2000)
    prompt.model = "other"
    #expect(prompt.counts(bench)?.read == 0)
  }

  @Test func streamTellsItAtItsBeginningAndItsEnd() {
    var prompt = Prompt(system: part(words(2000), Self.hourMark), messages: [user(text: "1234")])
    prompt.more = ",\"stream\":true"
    let first = prompt.begin(shortCache)
    shortCache.time.advance(milliseconds: 10)
    let second = prompt.begin(shortCache)
    shortCache.time.advance(milliseconds: 10)
    #expect(
      first.frames.first.flatMap { Counts($0, at: "message.usage") } == Counts(input: 1, read: 0, short: 0, hour: 2000))
    #expect(second.frames.first.flatMap { Counts($0, at: "message.usage") } == Counts(input: 1, read: 2000, short: 0))
    let end = second.frames.dropLast().last.flatMap { Document($0) }
    #expect(end?.number("usage.cache_read_input_tokens") == 2000)
    #expect(end?.number("usage.input_tokens") == 1)
  }

  @Test func limitsCountWhatIsNotRead() {
    let bench = Bench { $0.inputTokensPerMinute = 10_000 }
    let prompt = Prompt(system: part(words(8000), Self.mark), messages: [user(text: "12345678")])
    for _ in 0..<5 { #expect(prompt.counts(bench) != nil) }
    #expect(bench.stat("buckets.0.used") == 8010)
    let other = Prompt(system: part(words(8000, "efgh"), Self.mark), messages: [user(text: "12345678")])
    #expect(other.begin(bench).status == 429)
  }

  @Test func resetForgets() {
    let prompt = Prompt(system: part(words(2000), Self.mark), messages: [user(text: "1234")])
    _ = prompt.counts(shortCache)
    #expect(shortCache.stat("cache_entries") == 1)
    shortCache.call("POST", "/sim/reset")
    #expect(shortCache.stat("cache_entries") == 0)
    #expect(prompt.counts(shortCache)?.read == 0)
  }

  @Test func callsAreLoggedWithWhatTheyRead() {
    let prompt = Prompt(system: part(words(2000), Self.mark), messages: [user(text: "1234")])
    _ = prompt.counts(shortCache)
    _ = prompt.counts(shortCache)
    let log = Document(shortCache.call("GET", "/sim/calls").text)
    #expect(log?.number("calls.1.input") == 2001)
    #expect(log?.number("calls.0.cache_read") == 0)
    #expect(log?.number("calls.1.cache_read") == 2000)
  }

  @Test func memoryIsBounded() {
    var cache = PromptCache(life: 1000, minimum: 1, capacity: 64)
    for number in 0..<1000 as Range<UInt64> {
      let plan = cache.unmarked([number], at: number)
      cache.add(plan, startedAt: number, at: number)
      #expect(cache.count <= 64)
    }
    #expect(cache.unmarked([999], at: 999).read == 1)
    #expect(cache.unmarked([0], at: 999).read == 0)
  }
}
