// The built-in price table, `prices.yaml`, embedded in the binary: it is a prices file like any other, and read as one by whoever reads
// those.

extension PriceList {
  /// The table as a prices file, to start one's own from; without its last line feed.
  public static let builtInText = String(decoding: PackageResources.prices_yaml.dropLast(), as: UTF8.self)
}
