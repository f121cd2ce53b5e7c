// Changes of the broker as JSON and in words: who did what, and marks for charts.
import AdmissionCore
import BrokerEngine
import LedgerStore
import TextForms

enum AuditJSON {
  static func page(_ rows: [AuditRow]) -> [UInt8] {
    var json = JSONWriter(reserving: 4096)
    json.object { json in
      json.key("changes")
      json.array(rows) { json, row in
        json.object { json in
          json.member("at", Timestamp.text(row.at.nanoseconds))
          json.member("subject", row.subject)
          json.member("name", row.name)
          json.member("state", row.state)
          json.member("reason", row.reason)
          json.member("asked_by", row.askedBy)
          json.member("before", row.before)
          json.member("after", row.after)
          json.member("until", row.until.map { Timestamp.text($0.nanoseconds) })
          json.member("text", text(row))
        }
      }
    }
    return json.bytes
  }

  static func mark(_ json: inout JSONWriter, _ row: AuditRow) {
    json.object { json in
      json.member("at", Timestamp.text(row.at.nanoseconds))
      json.member("what", row.subject)
      json.member("subject", row.name)
      json.member("state", row.state)
      json.member("text", text(row))
    }
  }

  /// One line for people.
  static func text(_ row: AuditRow) -> String {
    var text: String
    switch row.subject {
    case "key": text = "key \(row.name): \(row.state)"
    case "breaker": text = "breaker of \(row.name): \(row.state)"
    case "budget":
      text = "budget \(row.name): \(row.state)"
      if let amount = row.amount {
        let isDollars = row.reason.isEmpty
        text += isDollars ? " by \(DollarText.text(Money(nanodollars: amount).text))" : " by \(amount) \(row.reason)"
        if let until = row.until { text += " until \(Timestamp.text(until.nanoseconds))" }
      }
    case "policy": text = "policy \(row.name): \(row.state)"
    case "broker": text = "broker \(row.name): \(row.state)"
    case "limit": text = "limit of \(row.name): \(row.state)"
    default: text = "\(row.subject) \(row.name): \(row.state)"
    }
    // Who did it by hand stands at the end, where that is known.
    let isTold = row.askedBy == nil || row.reason != "operator"
    if row.amount == nil, !row.reason.isEmpty, isTold { text += " (\(ByHand.text(row.reason)))" }
    switch (row.before, row.after) {
    case (let before?, let after?): text += ", \(before) → \(after)"
    case (nil, let after?): text += ", \(after)"
    case (let before?, nil): text += ", before: \(before)"
    case (nil, nil): break
    }
    if let asker = row.askedBy { text += ", by \(asker)" }
    return text
  }
}
