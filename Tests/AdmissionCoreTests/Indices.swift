// Indices and columns written as plain numbers, for tests that make up stores of their own.
@testable import AdmissionCore

extension Slots.Index: ExpressibleByIntegerLiteral {
  public init(integerLiteral number: Int) { self.init(number: number) }
}

extension ModelNumber: ExpressibleByIntegerLiteral {
  public init(integerLiteral number: Int) { self.init(number) }
}

extension Column: ExpressibleByArrayLiteral where Value == UInt64 {
  public init(arrayLiteral values: UInt64...) {
    self.init(0)
    for (position, value) in values.enumerated() { self[Slots<Key>.Index(number: position)] = value }
  }
}
