import Logging

/// Opens the store that the settings name.
public enum Stores {
  /// Connects, brings the schema up to date and returns the store. Waits for the database with exponential backoff and
  /// full jitter; every attempt that fails is one line in the log, without secrets. What trying again cannot cure
  /// (``StorageError/misconfigured(reason:remedy:)``, ``StorageError/migration(_:)``) is thrown at once; else the last
  /// error is thrown when the retries are used up. Cancellation ends the wait.
  public static func open(_ settings: DatabaseSettings, logger: Logger) async throws -> any Store {
    var generator = SystemRandomNumberGenerator()
    let backoff = Backoff(
      base: settings.retryDelay, cap: max(.seconds(30), settings.retryDelay), retriesMax: settings.retriesMax)
    var retry = 0
    while true {
      do {
        let store = try await attempt(settings)
        logger.info("database ready", metadata: ["database": "\(settings)", "attempts": "\(retry + 1)"])
        return store
      } catch let error as StorageError where error.canPass {
        guard let delay = backoff.delay(retry: retry, using: &generator) else { throw error }
        retry += 1
        logger.warning(
          "database not ready",
          metadata: [
            "database": "\(settings)", "error": "\(error)", "retry": "\(retry)/\(settings.retriesMax)",
            "delay": "\(delay)",
          ])
        try await Task.sleep(for: delay)
      }
    }
  }

  /// Connections to a database as it is.
  static func connect(_ settings: DatabaseSettings) throws(StorageError) -> any Database {
    switch settings.backend {
    case .sqlite(let path): try SQLiteDatabase(path: path, settings: settings)
    case .postgres(let server): PostgresDatabase(server, settings: settings)
    case .mysql(let server): MySQLDatabase(server, settings: settings)
    }
  }

  private static func attempt(_ settings: DatabaseSettings) async throws -> any Store {
    let database = try connect(settings)
    do {
      try await Migrator(Schema.migrations).run(on: database)
    } catch {
      await database.close()
      throw error
    }
    return SQLStore(database, timeout: settings.poolTimeout)
  }
}

extension StorageError {
  /// Whether waiting can cure it.
  var canPass: Bool { if case .unavailable = self { true } else { false } }
}
