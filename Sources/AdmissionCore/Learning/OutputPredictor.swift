// Predicts what a call will really use: by the ratio of the provider's size of an input to the estimated one per provider
// and model, less what `PromptMemory` knows to be cached, and by a high quantile of the output per provider, model and
// class.
//
// Promise: constant time and memory per (provider, model, class); old calls fade (every 512 calls, all counts are
// halved); until a class has eight calls to learn from, the prediction of the model's other classes is used, or a fixed
// guess. Why a quantile on a logarithmic scale: outputs spread over five decades, and a few large ones would dominate a
// mean.

/// What of a prompt is expected to be cached.
enum CacheHope: Sendable {
  case conversation
  /// Only what sessions share: the call goes to another key than the one whose cache has its conversation.
  case shared
  /// A refusal has shown that even less is.
  case nothing
}

struct OutputPredictor: Sendable {
  static let guess: TokenCount = 512
  /// For budgets: the output that a call without a cap is expected to use, while too little is known of its model.
  static let unknown: TokenCount = 4096
  private static let percent = 90
  private static let enough = 8

  struct Output: Sendable {
    /// Four steps per doubling: 4 × 20 steps cover 1...1,048,576 tokens.
    private var counts: [UInt16] = []
    private var total = 0
    private var expected = OutputPredictor.guess
    /// The quantile's step, and the number of calls up to it and in it.
    private var place = 0
    private var upToPlace = 0

    /// The number of calls per step; empty where there were none.
    var numbers: [UInt16] { counts }

    init() {}

    /// From the numbers of an earlier process; nil where they are not valid.
    init?(numbers: [UInt16]) {
      guard numbers.count == Self.steps, numbers.reduce(0, { $0 + Int($1) }) < 512 else { return nil }
      counts = numbers
      total = numbers.reduce(0) { $0 + Int($1) }
      upToPlace = Int(numbers[0])
      expect()
    }
    static let steps = 84

    /// A high quantile of the outputs so far; nil until there are enough calls.
    var expectation: TokenCount? { total >= OutputPredictor.enough ? expected : nil }

    mutating func learn(_ tokens: TokenCount) {
      if counts.isEmpty { counts = Array(repeating: 0, count: Self.steps) }
      let step = Self.step(tokens)
      counts[step] += 1
      total += 1
      if step <= place { upToPlace += 1 }
      if total >= 512 {
        total = 0
        for index in counts.indices {
          counts[index] /= 2
          total += Int(counts[index])
        }
        (place, upToPlace) = (0, Int(counts[0]))
      }
      expect()
    }

    /// Moves the quantile's step from where it was, which is mostly where it stays.
    private mutating func expect() {
      guard total >= OutputPredictor.enough else { return }
      func isReached(_ below: Int) -> Bool { below * 100 >= total * OutputPredictor.percent }
      while !isReached(upToPlace), place + 1 < counts.count {
        place += 1
        upToPlace += Int(counts[place])
      }
      while place > 0, isReached(upToPlace - Int(counts[place])) {
        upToPlace -= Int(counts[place])
        place -= 1
      }
      expected = Self.upperEdge(place)
    }

    static func step(_ tokens: TokenCount) -> Int {
      guard tokens > 0 else { return 0 }
      let value = min(tokens.value, 1 << 20)
      let octave = 63 - value.leadingZeroBitCount
      let quarter = octave >= 2 ? Int(value >> Int64(octave - 2)) & 3 : Int(value << Int64(2 - octave)) & 3
      return min(1 + octave * 4 + quarter, 83)
    }

    /// The largest number of tokens in the step.
    static func upperEdge(_ step: Int) -> TokenCount {
      guard step > 0 else { return 0 }
      let octave = Int64((step - 1) / 4)
      let quarter = Int64((step - 1) % 4)
      let next = (4 + quarter + 1) << octave
      return TokenCount(max(1, (next + 3) / 4 - 1))
    }
  }

  struct Input: Sendable {
    /// Counted tokens per estimated one, in 1/1024.
    private(set) var ratio: Int64 = 1024
    /// How far samples lie from the ratio, in 1/1024; it rises quickly and falls slowly.
    private(set) var spread: Int64 = 0
    /// By how much of its expectation a call that continues a cached one is too small, in 1/1024.
    private(set) var lack: Int64 = 0
    /// How many tokens a call finds cached whose conversation is new or has expired: what the sessions share.
    private(set) var shared: Int64 = 0
    /// When the last call began; the shared prefix lives on from there.
    private var last = Instant(nanoseconds: .min)
    /// When the first did.
    private var first: Instant?
    /// True where the provider tells what it writes to its cache; else all of an input is cached once a part of one was.
    private(set) var tellsWrites = false
    /// True once a call has read from the provider's cache: it has one.
    private(set) var readsCache = false

    init() {}

    /// From the numbers of an earlier process, cut to the bounds of what can be learned.
    init(ratio: Int64, spread: Int64, lack: Int64 = 0, tellsWrites: Bool = false) {
      self.ratio = min(max(ratio, 64), 8 * 1024)
      self.spread = min(max(spread, 0), 8 * 1024)
      self.lack = min(max(lack, 0), 1024)
      self.tellsWrites = tellsWrites
    }

    /// How much of this input is in the provider's cache once the call has begun.
    mutating func cached(_ usage: Usage) -> TokenCount {
      if usage.cacheWriteTokens > 0 { tellsWrites = true }
      if usage.cacheReadTokens > 0 { readsCache = true }
      if tellsWrites { return usage.cacheReadTokens + usage.cacheWriteTokens }
      return usage.cacheReadTokens > 0 ? usage.inputTokens : 0
    }

    /// - Parameters:
    ///   - expected: nil where the call continued none that was cached.
    ///   - isBeginning: true where its conversation has surely just begun. Another one that is new here may be older
    ///     than this process: what it finds cached is its own, and not what sessions share.
    mutating func learnCached(_ usage: Usage, expected: TokenCount?, isBeginning: Bool, began: Instant, life: Span) {
      first = first ?? began
      let read = usage.cacheReadTokens.value
      if let expected {
        let counted = (usage.inputTokens - usage.cacheReadTokens).value
        let sample = min(max(0, counted - expected.value) * 1024 / max(1, expected.value), 1024)
        lack += (sample - lack) / 64
        if sample > lack, (sample - lack) / 64 == 0 { lack += 1 }
      } else if began - last <= life {
        // It rises slowly and falls at once: too large a prefix is a call that is charged too little.
        if read <= shared { shared = read }
        let isOwn = !isBeginning && first.map { began - $0 <= life } ?? true
        if read > shared, !isOwn { shared += (read - shared) / 4 }
      }
      last = max(last, began)
    }

    /// What sessions share, while it lives.
    func shared(life: Span, at now: Instant) -> TokenCount { now - last <= life ? TokenCount(shared) : 0 }

    mutating func learn(estimated: TokenCount, counted: TokenCount) {
      guard estimated >= 16 else { return }
      // 2^40 tokens × 1024 fit 64 bits.
      let sample = min(max(counted.value * 1024 / estimated.value, 64), 8 * 1024)
      let error = sample > ratio ? sample - ratio : ratio - sample
      spread += error > spread ? (error - spread) / 4 : (error - spread) / 64
      ratio += (sample - ratio) / 16
    }

    /// Safety margin above the estimate, since the provider counts for itself: four times the mean error of this call, and twice that of the
    /// running ones, each at most the tokens it covers.
    func margins(
      of expected: TokenCount, running: OutputPredictor.Running, isRest: Bool
    ) -> (own: TokenCount, running: TokenCount)? {
      let error = min(spread * 1024 / max(1, ratio), 1024)
      let (ofWholes, ofRests) = (error >= 8 ? error : 0, lack >= 8 ? lack : 0)
      guard ofWholes > 0 || ofRests > 0 else { return nil }
      return (
        expected.scaled(by: min(4 * (isRest ? ofRests : ofWholes), 1024), over: 1024),
        running.wholes.scaled(by: min(2 * ofWholes, 1024), over: 1024)
          + running.rests.scaled(by: min(2 * ofRests, 1024), over: 1024)
      )
    }

    func apply(to estimate: TokenCount) -> TokenCount { estimate.scaled(by: ratio, over: 1024) }
  }

  /// The most models that have numbers of their own; the rest share one.
  static let models = 128
  private var outputs: [Output?] = []
  private var inputs: [Input] = []
  /// What is cached of each conversation, where the provider does not count what it had cached.
  private var prompts = PromptMemory()
  /// Whether something was learned of each model since `takeChanged`.
  private var changed: [Bool] = []
  /// From which calls each model's numbers were learned.
  private var origins: [Origin] = []

  /// The calls from which numbers were learned.
  struct Origin: Sendable {
    var calls: Int64 = 0
    /// Of these, the calls of earlier processes.
    var stored: Int64 = 0
    var since: Instant
  }

  private static func index(_ model: ModelNumber, _ band: Int) -> Int { model.position * 3 + band }

  func expectedInput(_ estimate: TokenCount, model: ModelNumber) -> TokenCount {
    model.position < inputs.count ? inputs[model.position].apply(to: estimate) : estimate
  }

  /// What the provider is expected to count of a call, where it does not count what it had cached.
  /// - Parameters:
  ///   - prompt: names the call's conversation.
  ///   - life: how long a prefix lives that the call reads.
  /// - Returns: `known` is what the call continues that is cached, `cached` how much of its input is expected to be.
  func expectedRest(
    _ estimate: TokenCount, model: ModelNumber, prompt: UInt64, life: Span, hope: CacheHope = .conversation,
    at now: Instant
  ) -> (input: TokenCount, known: PromptMemory.Call?, cached: TokenCount) {
    guard model.position < inputs.count else { return (estimate, nil, 0) }
    if hope == .conversation, let known = prompts.find(prompt, estimate: estimate, at: now) {
      return (known.rest(of: estimate, ratio: inputs[model.position].ratio), known, TokenCount(known.cached))
    }
    let whole = inputs[model.position].apply(to: estimate)
    if hope == .nothing { return (whole, nil, 0) }
    let rest = max(min(whole, PromptMemory.least), whole - inputs[model.position].shared(life: life, at: now))
    return (rest, nil, whole - rest)
  }

  /// The provider has told the call's input, and so what it has cached of it.
  mutating func noteCached(
    _ usage: Usage, estimated: TokenCount, model: ModelNumber, prompt: UInt64, began: Instant, life: Span,
    holder: Int64 = 0, print: PromptPrint = .none, at now: Instant
  ) {
    while inputs.count <= model.position { inputs.append(Input()) }
    let cached = inputs[model.position].cached(usage)
    // Of a provider that has shown no cache nothing could be found.
    guard inputs[model.position].tellsWrites || inputs[model.position].readsCache else { return }
    prompts.note(
      prompt, estimated: estimated, size: usage.inputTokens, cached: cached, began: began, life: life,
      holder: holder, print: print, at: now)
  }

  /// Why input of a call that is over was not read from the provider's cache; nil where nothing was lost.
  /// - Parameters:
  ///   - submitted: when the call came here.
  ///   - wasElsewhere: true where another provider's cache has its conversation.
  func lostCache(
    _ usage: Usage, estimated: TokenCount, model: ModelNumber, prompt: UInt64, print: PromptPrint, holder: Int64,
    submitted: Instant, began: Instant, wasElsewhere: @autoclosure () -> Bool
  ) -> LostCache? {
    var input = model.position < inputs.count ? inputs[model.position] : Input()
    _ = input.cached(usage)
    // A provider that has no cache loses nothing, nor does a call that did not ask for it.
    if input.tellsWrites, usage.cacheReadTokens == 0, usage.cacheWriteTokens == 0 { return nil }
    guard input.tellsWrites || input.readsCache else { return nil }
    func lost(_ reason: CacheLoss, of call: PromptMemory.Call?, isOurs: Bool = false) -> LostCache? {
      let kept = call.map { TokenCount(input.tellsWrites ? $0.cached : $0.size) } ?? usage.inputTokens
      let tokens = min(kept, usage.inputTokens) - usage.cacheReadTokens
      guard tokens >= PromptMemory.leastCached else { return nil }
      return LostCache(reason: reason, lostTokens: tokens, oursByWaiting: isOurs)
    }
    switch prompts.past(prompt, estimate: estimated, before: began) {
    case .none: return lost(wasElsewhere() ? .movedKey : .firstCall, of: nil)
    case .expired(let call): return lost(.expired, of: call, isOurs: call.lived(at: submitted))
    case .longer(let call): return lost(call.holder == holder ? .prefixChanged : .movedKey, of: call)
    case .living(let call, let earlier):
      guard call.holder == holder else { return lost(.movedKey, of: call) }
      let (alike, differs) = print.compared(with: earlier)
      // Of a prompt that was found alike beyond what was read, the provider has lost the rest.
      let isFound = input.apply(to: TokenCount(alike / 4)) > usage.cacheReadTokens + PromptMemory.leastCached
      return lost(differs || !isFound && usage.cacheReadTokens > 0 ? .prefixChanged : .provider, of: call)
    }
  }

  /// The call that one of this size continues and that is cached now.
  func cached(_ prompt: UInt64, estimated: TokenCount, at now: Instant) -> PromptMemory.Call? {
    prompts.find(prompt, estimate: estimated, at: now)
  }

  /// Learns from the end of a call how good the guess about its cached input was.
  /// - Parameter expected: what it was expected to be counted as; nil where it continued no call that was cached.
  mutating func learnCached(
    _ usage: Usage, expected: TokenCount?, model: ModelNumber, isBeginning: Bool = false, began: Instant, life: Span
  ) {
    guard model.position < inputs.count else { return }
    inputs[model.position].learnCached(
      usage, expected: expected, isBeginning: isBeginning, began: began, life: life)
  }

  /// Tokens that running calls have reserved.
  struct Running {
    var wholes: TokenCount
    /// By calls that continue cached ones.
    var rests: TokenCount = 0
  }

  func inputMargins(
    _ expected: TokenCount, model: ModelNumber, running: Running, isRest: Bool = false
  ) -> (own: TokenCount, running: TokenCount)? {
    model.position < inputs.count
      ? inputs[model.position].margins(of: expected, running: running, isRest: isRest) : nil
  }

  /// The class's own quantile; until there is one, the largest of the model's other classes. A fixed guess for one
  /// class beside learned numbers for others would make their costs incomparable, and so their shares.
  func expectedOutput(model: ModelNumber, band: Int) -> TokenCount {
    if let own = learned(model, band) { return own }
    var largest: TokenCount?
    for other in 0..<3 where other != band {
      if let quantile = learned(model, other) { largest = max(largest ?? 0, quantile) }
    }
    return largest ?? Self.guess
  }

  /// True once enough calls of the model have ended for a prediction.
  func knows(model: ModelNumber, band: Int) -> Bool {
    learned(model, band) != nil || (0..<3).contains { learned(model, $0) != nil }
  }

  /// The models of which something was learned since the last call of this.
  mutating func takeChanged() -> [ModelNumber] {
    let numbers = changed.indices.filter { changed[$0] }.map { ModelNumber($0) }
    changed.removeAll(keepingCapacity: true)
    return numbers
  }

  /// Notes a call from which something is learned.
  mutating func learns(of model: ModelNumber, at now: Instant) {
    while origins.count <= model.position { origins.append(Origin(since: now)) }
    if origins[model.position].calls == 0 { origins[model.position].since = now }
    origins[model.position].calls &+= 1
  }

  /// From which calls the model's numbers were learned; nil where there were none.
  func origin(of model: ModelNumber) -> Origin? {
    guard model.position < origins.count, origins[model.position].calls > 0 else { return nil }
    return origins[model.position]
  }

  /// The models that have numbers, in the order of their own numbers.
  var known: [ModelNumber] { origins.indices.map { ModelNumber($0) }.filter { origin(of: $0) != nil } }

  /// What the class's calls of the model produce; nil while too few have ended.
  func learnedOutput(model: ModelNumber, band: Int) -> TokenCount? { learned(model, band) }

  /// What is known of a model, to be stored.
  func numbers(of model: ModelNumber) -> (input: Input, outputs: [[UInt16]]) {
    let input = model.position < inputs.count ? inputs[model.position] : Input()
    let outputs = (0..<3).map { band in
      let index = Self.index(model, band)
      return index < self.outputs.count ? self.outputs[index]?.numbers ?? [] : []
    }
    return (input, outputs)
  }

  /// - Parameter calls: from how many calls of earlier processes this was learned.
  mutating func restore(_ input: Input, outputs known: [[UInt16]], model: ModelNumber, calls: Int64, at now: Instant) {
    while inputs.count <= model.position { inputs.append(Input()) }
    inputs[model.position] = input
    while origins.count <= model.position { origins.append(Origin(since: now)) }
    origins[model.position] = Origin(calls: calls, stored: calls, since: now)
    for (band, numbers) in known.prefix(3).enumerated() {
      guard let output = Output(numbers: numbers) else { continue }
      let index = Self.index(model, band)
      while outputs.count <= index { outputs.append(nil) }
      outputs[index] = output
    }
  }

  private func learned(_ model: ModelNumber, _ band: Int) -> TokenCount? {
    let index = Self.index(model, band)
    return index < outputs.count ? outputs[index]?.expectation : nil
  }

  /// - Parameter output: nil for a call that produces no output.
  mutating func learn(
    estimated: TokenCount, counted: TokenCount, output: TokenCount?, model: ModelNumber, band: Int
  ) {
    while inputs.count <= model.position { inputs.append(Input()) }
    inputs[model.position].learn(estimated: estimated, counted: counted)
    while changed.count <= model.position { changed.append(false) }
    changed[model.position] = true
    guard let output else { return }
    let index = Self.index(model, band)
    while outputs.count <= index { outputs.append(nil) }
    if outputs[index] == nil { outputs[index] = Output() }
    outputs[index]?.learn(output)
  }
}
