/// By what learners keep what they know of a model: a number for its name, of which there are few.
struct ModelNumber: Hashable, Sendable {
  /// 0...`OutputPredictor.models`.
  let rawValue: Int32

  init(_ rawValue: Int) { self.rawValue = Int32(clamping: rawValue) }

  /// All models that have no number of their own share this one.
  static let shared = ModelNumber(0)

  var position: Int { Int(rawValue) }
}
