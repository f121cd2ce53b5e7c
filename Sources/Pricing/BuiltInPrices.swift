// The built-in price table, `prices.yaml`, embedded in the binary. It is a prices file like any other, and parsed in
// the same way.

extension PriceList {
  /// The table as a prices file, from which operators can start their own; without its last line feed.
  public static let builtInText = String(decoding: PackageResources.prices_yaml.dropLast(), as: UTF8.self)
}
