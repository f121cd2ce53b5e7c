/// A small number in place of a model's name; learners keep what they know of a model by it.
struct ModelNumber: Hashable, Sendable {
  /// 0...`OutputPredictor.models`.
  let rawValue: Int32

  init(_ rawValue: Int) { self.rawValue = Int32(clamping: rawValue) }

  /// Shared by all models that have no number of their own.
  static let shared = ModelNumber(0)

  var position: Int { Int(rawValue) }
}
