import Testing

@testable import Storage

@Suite("What a PostgreSQL failure means")
struct PostgresFailureTests {
  @Test("An error without a SQLSTATE is libpq's own: the connection is lost, whatever its status says", arguments: [true, false])
  func withoutState(_ isConnected: Bool) {
    let failure = PostgresFailure(state: "", constraint: "", message: "", isConnected: isConnected)
    guard case .unavailable(let reason, let remedy) = failure.storageError else {
      Issue.record("\(failure.storageError)")
      return
    }
    #expect(reason.contains("connection") && remedy.contains("DB_HOST"))
  }
}
