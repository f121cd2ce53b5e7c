// Our own header fields: the names of those in requests, and those that are added to every answer.
import AdmissionCore
import HTTPMessage

public enum TollgateFields {
  /// The names that may follow `x-tollgate-` in a request.
  public static let hints = ["kind", "priority", "provider", "session", "tenant", "timeout"]

  static func append(to fields: inout HeaderFields, _ record: RequestRecord, outcome: Outcome?) {
    fields.append("x-tollgate-request-id", record.text)
    fields.append("x-tollgate-priority", record.priority.name)
    fields.append("x-tollgate-queue-ms", String(record.queued.wholeMilliseconds))
    if let provider = record.provider {
      fields.append("x-tollgate-provider", provider)
      if let key = record.key { fields.append("x-tollgate-key", key) }
      fields.append("x-tollgate-attempts", String(record.attemptCount))
    }
    if let remaining = record.budgetRemaining {
      fields.append("x-tollgate-budget-remaining-usd", remaining.text)
    }
    if let outcome { fields.append("x-tollgate-outcome", outcome.rawValue) }
  }

  static func pairs(_ record: RequestRecord, outcome: Outcome?) -> [(name: String, value: String)] {
    var fields = HeaderFields()
    append(to: &fields, record, outcome: outcome)
    return fields.pairs
  }
}
