// Indices and columns written as plain numbers, for tests that make up stores of their own.
@testable import AdmissionCore

extension Slots.Index: ExpressibleByIntegerLiteral {
  public init(integerLiteral number: Int) { self.init(number: number) }
}

extension ModelNumber: ExpressibleByIntegerLiteral {
  public init(integerLiteral number: Int) { self.init(number) }
}
