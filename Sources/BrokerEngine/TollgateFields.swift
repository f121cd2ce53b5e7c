// Our own header fields: those of requests by name, and those of responses, on every answer.
import AdmissionCore
import HTTPMessage

public enum TollgateFields {
  /// What a client may say, behind `x-tollgate-`.
  public static let hints = ["kind", "priority", "provider", "session", "tenant", "timeout"]

  static func append(to fields: inout HeaderFields, _ record: RequestRecord, outcome: Outcome?) {
    fields.append(name: "x-tollgate-request-id", value: record.text)
    fields.append(name: "x-tollgate-priority", value: record.priority.name)
    fields.append(name: "x-tollgate-queue-ms", value: String(record.queued.wholeMilliseconds))
    if let provider = record.provider {
      fields.append(name: "x-tollgate-provider", value: provider)
      if let key = record.key { fields.append(name: "x-tollgate-key", value: key) }
      fields.append(name: "x-tollgate-attempts", value: String(record.attemptCount))
    }
    if let remaining = record.budgetRemaining {
      fields.append(name: "x-tollgate-budget-remaining-usd", value: remaining.text)
    }
    if let outcome { fields.append(name: "x-tollgate-outcome", value: outcome.rawValue) }
  }

  static func pairs(_ record: RequestRecord, outcome: Outcome?) -> [(name: String, value: String)] {
    var fields = HeaderFields()
    append(to: &fields, record, outcome: outcome)
    return fields.pairs
  }
}
