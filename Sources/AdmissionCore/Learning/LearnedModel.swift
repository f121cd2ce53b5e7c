// What was learned of a model's calls at a provider, in a form that can be stored and read again, so that budgets and
// limits hold from the first call after a start.

public struct LearnedModel: Sendable, Equatable {
  public var provider: ProviderID
  public var model: String
  /// Counted input tokens per estimated one, and how far calls lie from that ratio; both in 1/1024.
  var ratio: Int64
  var spread: Int64
  /// By how much of its expectation a call that continues a cached one is too small, in 1/1024; and whether the provider
  /// tells what it writes to its cache.
  var lack: Int64
  var tellsWrites: Bool
  /// For each class, the number of calls per step of output tokens; empty where there were none.
  var outputs: [[UInt16]]
  /// Whether the policy had a price or a limit for the model.
  var isListed: Bool
  /// How many calls this was learned from.
  var calls: Int64

  /// The numbers as text: `listed ratio spread`, for each class `step:count,...`, then `lack writes calls`.
  public var text: String {
    let classes = outputs.map { counts in
      counts.enumerated().filter { $0.element > 0 }.map { "\($0.offset):\($0.element)" }.joined(separator: ",")
    }
    return
      (["\(isListed ? 1 : 0)", "\(ratio)", "\(spread)"] + classes
      + ["\(lack)", "\(tellsWrites ? 1 : 0)", "\(calls)"])
      .joined(separator: " ")
  }

  init(
    provider: ProviderID, model: String, ratio: Int64, spread: Int64, outputs: [[UInt16]], isListed: Bool,
    lack: Int64 = 0, tellsWrites: Bool = false, calls: Int64
  ) {
    self.isListed = isListed
    self.calls = min(max(0, calls), 1 << 50)
    self.lack = lack
    self.tellsWrites = tellsWrites
    self.provider = provider
    self.model = model
    self.ratio = ratio
    self.spread = spread
    self.outputs = outputs
  }

  /// nil where the text is not what `text` gives.
  public init?(provider: ProviderID, model: String, text: String) {
    let parts = text.split(separator: " ", omittingEmptySubsequences: false)
    guard [6, 8, 9].contains(parts.count), let told = Int64(parts[1]), let spread = Int64(parts[2]) else {
      return nil
    }
    var (ratio, lack, tellsWrites) = (told, Int64(0), false)
    if parts.count >= 8 {
      guard let number = Int64(parts[6]) else { return nil }
      (lack, tellsWrites) = (number, parts[7] == "1")
    } else if ratio < 512 {
      // Written when cached input was part of this ratio, and not of a memory of its own.
      ratio = 1024
    }
    var outputs: [[UInt16]] = []
    for part in parts[3..<6] {
      guard !part.isEmpty else {
        outputs.append([])
        continue
      }
      var counts = [UInt16](repeating: 0, count: OutputPredictor.Output.steps)
      for pair in part.split(separator: ",") {
        let numbers = pair.split(separator: ":")
        guard numbers.count == 2, let step = Int(numbers[0]), let count = UInt16(numbers[1]),
          counts.indices.contains(step)
        else { return nil }
        counts[step] = count
      }
      outputs.append(counts)
    }
    // Earlier versions did not write the number of calls; what they counted of outputs is the least that it was.
    var calls = outputs.reduce(0) { $0 + $1.reduce(0) { $0 + Int64($1) } }
    if parts.count == 9 {
      guard let number = Int64(parts[8]) else { return nil }
      calls = number
    }
    self.init(
      provider: provider, model: model, ratio: ratio, spread: spread, outputs: outputs, isListed: parts[0] == "1",
      lack: lack, tellsWrites: tellsWrites, calls: calls)
  }
}
