// What the core looks like at one instant: for status, metrics, the dashboard, and for the checkers of the simulation.

public struct AdmissionSnapshot: Sendable {
  public struct Bucket: Sendable, Equatable {
    public var dimension: Dimension
    /// Units there now; negative while a debt is worked off.
    public var available: Int64
    public var capacity: Int64
  }
  public struct Key: Sendable {
    public var id: KeyID
    /// `usable`, `cooling`, `disabled`.
    public var state: String
    public var until: Instant?
    public var inFlight: Int
  }
  public struct Breaker: Sendable {
    /// `closed`, `half_open`, `open`.
    public var state: String
    public var reason: String?
    public var until: Instant?
  }
  public struct Model: Sendable {
    public var pattern: String
    public var inFlight: Int
    public var concurrencyLimit: Int?
    public var buckets: [Bucket]
  }
  public struct Provider: Sendable {
    public var id: ProviderID
    public var inFlight: Int
    public var concurrencyLimit: Int?
    public var inFlightByBand: [Int]
    public var buckets: [Bucket]
    public var models: [Model]
    public var breaker: Breaker
    public var keys: [Key]
    /// Requests whose first candidate this is, by `Priority.rawValue`.
    public var queuedByBand: [Int]
  }
  public struct Tenant: Sendable {
    public var id: TenantID
    public var inFlight: Int
    public var queued: Int
    public var concurrencyLimit: Int?
    public var buckets: [Bucket]
    public var weight: Int
  }
  public var providers: [Provider]
  public var tenants: [Tenant]
  /// By `Priority.rawValue`.
  public var queuedByBand: [Int]
  public var queuedBytes: Int
  public var running: Int
  public var openLeases: Int
  /// Slots of queue storage in use or kept, tombstones included; bounded in the number queued.
  public var queueStorage: Int
  public var isDraining: Bool
}
